"""Formats and devices in the dialect's words, of what live nodes announced. Pure."""

from __future__ import annotations

from maquette.api.dialects.aigc.v1 import system_pb2
from services.gateway.capabilities import Capabilities
from services.gateway.dialects.aigc import mapping, words

FEATURES = tuple(feature.name for feature in words.MESH_GENERATION)


def gpus(known: Capabilities) -> list[system_pb2.GpuStatus]:
    """Return the GPUs of live nodes."""
    devices = [device for node in known.nodes for device in node.devices]
    return [
        system_pb2.GpuStatus(
            id=number,
            name=device.name,
            memory_used=device.vram_total_mib - device.vram_free_mib,
            memory_total=device.vram_total_mib,
        )
        for number, device in enumerate(devices)
    ]


def image_inputs(known: Capabilities) -> list[str]:
    """Return the formats of pictures taken now."""
    formats = known.input_formats(FEATURES)
    both = formats | ({"jpg", "jpeg"} if formats & {"jpg", "jpeg"} else set())
    return mapping.in_order(words.IMAGE_FORMATS, both)


def mesh_outputs(known: Capabilities) -> list[str]:
    """Return the formats that meshes are delivered in now."""
    return mapping.in_order(words.MESH_FORMATS, known.output_formats(FEATURES))


def textures(known: Capabilities) -> list[str]:
    """Return the formats of textures made now."""
    return ["png"] if known.serving((words.IMAGE_TO_TEXTURED_MESH.name,)) else []


def inputs(known: Capabilities) -> system_pb2.InputFormats:
    """Return what jobs can be made of now."""
    images = image_inputs(known)
    types = dict.fromkeys(words.IMAGE_TYPES[name] for name in images)
    return system_pb2.InputFormats(image=images, base64=list(types))
