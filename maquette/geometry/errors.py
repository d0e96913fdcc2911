"""What geometry raises when bytes from outside are not what they claim to be.

::

    GeometryError
    ├── UnreadableImage   the file is no picture that can be used
    └── MeshError         a mesh breaks a rule
        └── UnreadableMesh    the file is no mesh that can be read
"""

from __future__ import annotations


class GeometryError(ValueError):
    """Bad data; the message is a sentence for the person who sent it."""


class UnreadableImage(GeometryError):
    """The file is no picture that can be used."""


class MeshError(GeometryError):
    """A mesh breaks a rule (an index out of range, a coordinate that is no number)."""


class UnreadableMesh(MeshError):
    """The file is no mesh that can be read."""
