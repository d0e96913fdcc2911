"""Measure every quality and write its JSON: ``python -m quality``."""

import sys

from quality import animation, image_to_3d, rigging, several_pictures, skinning

MEASURES = (image_to_3d.main, several_pictures.main, rigging.main, skinning.main, animation.main)
"""Each measures one thing, writes its own JSON and returns its exit status."""

sys.exit(max(measure() for measure in MEASURES))
