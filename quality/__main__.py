"""Measure every quality and write its JSON: ``python -m quality``."""

from quality import image_to_3d

image_to_3d.main()
