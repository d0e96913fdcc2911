"""Wavefront OBJ: write with MTL and texture beside it, read from text alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from maquette.geometry.asset import Asset, Bytes, Material, Mesh, Part, clean_mesh
from maquette.geometry.errors import UnreadableMesh
from maquette.geometry.textures import encode_png

_MAX_CORNERS = 65_536
"""Most corners of one polygon."""


def write_obj(asset: Asset, stem: str = "model") -> dict[str, bytes]:
    """Encode an asset as ``stem.obj``, ``stem.mtl`` and, with a texture, ``texture.png``.

    Positions, texture coordinates and normals are each written once, so that a mesh closed
    in space stays closed where its texture has seams. Further textures are numbered.
    """
    text = [f"# Maquette\nmtllib {stem}.mtl\n"]
    materials = ["# Maquette\n"]
    files: dict[str, bytes] = {}
    start = _Offsets()
    for index, part in enumerate(asset.parts):
        texture_name = ""
        if part.material.base_color_texture is not None:
            texture_name = "texture.png" if index == 0 else f"texture_{index}.png"
            files[texture_name] = encode_png(part.material.base_color_texture)
        material_name = f"{_word(part.material.name)}_{index}"
        materials.append(_material_text(part.material, material_name, texture_name))
        text.append(f"o {_word(part.name)}\nusemtl {material_name}\n")
        text.append(_mesh_text(part.mesh, start))
    return {f"{stem}.obj": "".join(text).encode(), f"{stem}.mtl": "".join(materials).encode(), **files}


@dataclass(slots=True)
class _Offsets:
    """How many positions, texture coordinates and normals are already in the file."""

    position: int = 0
    uv: int = 0
    normal: int = 0


def _mesh_text(mesh: Mesh, start: _Offsets) -> str:
    positions, position_of = _distinct(mesh.vertices)
    blocks = [_rows("v", positions)]
    columns = [position_of[mesh.faces] + 1 + start.position]
    shape = "{}"
    if mesh.uv is not None:
        flipped = np.stack([mesh.uv[:, 0], 1.0 - mesh.uv[:, 1]], axis=1)
        uvs, uv_of = _distinct(flipped.astype(np.float32))
        blocks.append(_rows("vt", uvs))
        columns.append(uv_of[mesh.faces] + 1 + start.uv)
        start.uv += len(uvs)
        shape = "{}/{}"
    if mesh.normals is not None:
        normals, normal_of = _distinct(mesh.normals)
        blocks.append(_rows("vn", normals))
        columns.append(normal_of[mesh.faces] + 1 + start.normal)
        start.normal += len(normals)
        shape += "/{}" if mesh.uv is not None else "//{}"
    start.position += len(positions)
    line = f"f {shape} {shape} {shape}\n"
    corners = np.stack(columns, axis=2).reshape(len(mesh.faces), -1).tolist()
    blocks.append("".join([line.format(*row) for row in corners]))
    return "".join(blocks)


def _distinct(rows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return the distinct rows in the order of first use and each row's place among them."""
    view = np.ascontiguousarray(rows + np.float32(0.0)).view([("", rows.dtype)] * rows.shape[1]).ravel()
    _, first, inverse = np.unique(view, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return rows[first[order]], rank[inverse.ravel()]


def _rows(word: str, values: NDArray[np.float32]) -> str:
    # Seven digits are what a float32 holds.
    line = word + " %.7g" * values.shape[1] + "\n"
    return "".join([line % tuple(row) for row in values.tolist()])


def _material_text(material: Material, name: str, texture: str) -> str:
    red, green, blue, alpha = material.base_color
    shininess = 2.0 / max(material.roughness, 0.05) ** 4 - 2.0
    lines = [
        f"newmtl {name}",
        f"Kd {red:.6g} {green:.6g} {blue:.6g}",
        "Ka 0 0 0",
        "Ks 0.04 0.04 0.04",
        f"Ns {min(max(shininess, 1.0), 1000.0):.4g}",
        f"d {alpha:.6g}",
        f"Pr {material.roughness:.6g}",
        f"Pm {material.metallic:.6g}",
        "illum 2",
    ]
    if texture:
        lines.append(f"map_Kd {texture}")
    return "\n".join(lines) + "\n"


def _word(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "_" for char in name) or "part"


def read_obj(data: bytes, max_vertices: int) -> Asset:
    """Read the triangles of an OBJ; polygons are fanned, material libraries are not opened.

    Raises :class:`UnreadableMesh` for text that is no OBJ and
    :class:`maquette.geometry.errors.MeshError` for indices out of range.
    """
    table = _Table()
    text = data.decode("utf-8", errors="replace").replace("\\\r\n", " ").replace("\\\n", " ")
    try:
        for line in text.splitlines():
            table.take(line, max_vertices)
    except (ValueError, IndexError) as error:
        if isinstance(error, UnreadableMesh):
            raise
        raise UnreadableMesh("A line of the OBJ file cannot be understood.") from error
    if not table.positions or not table.corners:
        raise UnreadableMesh("The OBJ file has no faces.")
    return Asset("obj", (Part("mesh", table.mesh()),))


@dataclass(slots=True)
class _Table:
    """The lists of an OBJ file as they fill; corners are (position, uv, normal) from 0, -1 for none."""

    positions: list[tuple[float, float, float]] = field(default_factory=list)
    colors: list[tuple[float, float, float]] = field(default_factory=list)
    uvs: list[tuple[float, float]] = field(default_factory=list)
    normals: list[tuple[float, float, float]] = field(default_factory=list)
    corners: list[tuple[int, int, int]] = field(default_factory=list)

    def take(self, line: str, max_vertices: int) -> None:
        """Read one line; unknown words are skipped as the format asks."""
        words = line.split()
        if not words:
            return
        word = words[0]
        if word == "v":
            self.positions.append((float(words[1]), float(words[2]), float(words[3])))
            if len(words) >= 7:
                self.colors.append((float(words[4]), float(words[5]), float(words[6])))
            if len(self.positions) > max_vertices:
                raise UnreadableMesh(f"The OBJ file has more than {max_vertices} vertices.")
        elif word == "vt":
            self.uvs.append((float(words[1]), 1.0 - float(words[2]) if len(words) > 2 else 1.0))
        elif word == "vn":
            self.normals.append((float(words[1]), float(words[2]), float(words[3])))
        elif word == "f":
            if len(words) > _MAX_CORNERS:
                raise UnreadableMesh("A face of the OBJ file has too many corners.")
            corner = [self._corner(item) for item in words[1:] if not item.startswith("#")]
            for second, third in pairwise(corner[1:]):
                self.corners += (corner[0], second, third)
            if len(self.corners) > 6 * max_vertices:
                raise UnreadableMesh("The OBJ file has too many faces.")

    def _corner(self, item: str) -> tuple[int, int, int]:
        pieces = item.split("/")
        place = [-1, -1, -1]
        for slot, (piece, size) in enumerate(
            zip(pieces[:3], (len(self.positions), len(self.uvs), len(self.normals)), strict=False)
        ):
            if piece:
                number = int(piece)
                place[slot] = number - 1 if number > 0 else size + number
                if not 0 <= place[slot] < size:
                    raise UnreadableMesh("A face of the OBJ file names a vertex that does not exist.")
        if place[0] < 0:
            raise UnreadableMesh("A face of the OBJ file has no vertex.")
        return place[0], place[1], place[2]

    def mesh(self) -> Mesh:
        """Split corners into vertices with one set of attributes each."""
        triples = np.asarray(self.corners, dtype=np.int64)
        distinct, inverse = np.unique(triples, axis=0, return_inverse=True)
        has_uv, has_normals = bool((distinct[:, 1] >= 0).all()), bool((distinct[:, 2] >= 0).all())
        colored = len(self.colors) == len(self.positions)
        return clean_mesh(
            np.asarray(self.positions)[distinct[:, 0]],
            inverse.reshape(-1, 3),
            uv=np.asarray(self.uvs)[distinct[:, 1]] if has_uv else None,
            normals=np.asarray(self.normals)[distinct[:, 2]] if has_normals else None,
            colors=_color_bytes(np.asarray(self.colors))[distinct[:, 0]] if colored else None,
        )


def _color_bytes(values: NDArray[np.float64]) -> Bytes:
    finite = np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0)
    scaled = finite * 255.0 if finite.max(initial=0.0) <= 1.0 else finite
    rgba = np.full((len(values), 4), 255, dtype=np.uint8)
    rgba[:, :3] = np.clip(scaled + 0.5, 0, 255)
    return rgba
