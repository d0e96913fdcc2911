"""Pictures of a character in a clip: one moment, and a short loop."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from maquette.geometry.asset import Asset, Material, Mesh, Part
from maquette.geometry.codecs.gltf_clips import world_poses
from maquette.geometry.codecs.gltf_pose import Puppet
from maquette.geometry.render import View, render
from maquette.geometry.rig import Clip, Skeleton
from maquette.geometry.textures import encode_png

_STILL = View(yaw=24.0, pitch=10.0, size=384)
_MOVING = View(yaw=24.0, pitch=10.0, size=192, supersampling=1)
_SHOWN = 0.35
"""Share of the clip at which the still shows it."""
_FRAMES = 12
_LONGEST = 6.0
"""Seconds: of longer clips the preview shows the beginning."""
_QUALITY = 80


def draw_still(puppet: Puppet, skeleton: Skeleton, clip: Clip) -> bytes:
    """Draw the character in a moment of a clip: PNG with a transparent background."""
    moment = int(_SHOWN * (len(clip.times) - 1))
    return encode_png(render(puppet.pose(world_poses(skeleton, clip)[moment]), _STILL))


def draw_preview(puppet: Puppet, skeleton: Skeleton, clip: Clip) -> bytes:
    """Draw a clip as an endless animated WebP with a transparent background; the camera goes along."""
    last = int(np.searchsorted(clip.times, clip.times[0] + _LONGEST, "right")) - 1
    # The last pose of a loop is its first again.
    moments = np.unique((np.arange(_FRAMES) * last) // _FRAMES)
    poses = world_poses(skeleton, clip)[moments]
    way = poses[:, 0, :3, 3] - poses[0, 0, :3, 3]
    way[:, 1] = 0.0
    poses[:, :, :3, 3] -= way[:, None]
    assets = [puppet.pose(pose) for pose in poses]
    room = _box(assets)
    pictures = [Image.fromarray(render(asset, _MOVING, around=room)) for asset in assets]
    milliseconds = max(round(1000.0 * float(clip.times[last] - clip.times[0]) / len(moments)), 20)
    file = io.BytesIO()
    pictures[0].save(
        file,
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=milliseconds,
        loop=0,
        quality=_QUALITY,
        method=0,
    )
    return file.getvalue()


def _box(assets: list[Asset]) -> Asset:
    """Return a box that holds all of the assets."""
    points = [part.mesh.vertices for asset in assets for part in asset.parts]
    low = np.min([part.min(axis=0) for part in points], axis=0)
    high = np.max([part.max(axis=0) for part in points], axis=0)
    corners = np.where(np.indices((2, 2, 2)).reshape(3, -1).T == 1, high, low).astype(np.float32)
    return Asset("box", (Part("box", Mesh(corners, np.array([[0, 1, 2]], np.int32)), Material()),))
