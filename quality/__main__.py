"""Measure qualities and write their JSON: all with ``python -m quality``, else those that are named."""

import sys

from quality import animation, image_to_3d, rigging, several_pictures, skinning

MEASURES = {
    "image_to_3d": image_to_3d.main,
    "several_pictures": several_pictures.main,
    "rigging": rigging.main,
    "skinning": skinning.main,
    "animation": animation.main,
}
"""Each measures one thing, writes its own JSON and returns its exit status."""

names = sys.argv[1:] or list(MEASURES)
if unknown := sorted(set(names) - set(MEASURES)):
    sys.exit(f"quality: there is no {', '.join(unknown)}; known are {', '.join(MEASURES)}")
sys.exit(max(MEASURES[name]() for name in names))
