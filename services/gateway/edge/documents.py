"""D43–D45: Swagger UI and ReDoc, served whole from here; nothing is fetched from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import orjson
from starlette.requests import Request
from starlette.responses import Response

from maquette.runtime.errors import NotFound
from services.gateway.dialects.aigc.words import TITLE
from services.gateway.openapi import openapi_document

_MEDIA_TYPES = {".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
# Both viewers write style elements; scripts come from our own origin only.
_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; worker-src 'self' blob:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
_KEEP = {"cache-control": "public, max-age=86400", "x-content-type-options": "nosniff"}

_SWAGGER_START = """window.addEventListener("load", () => {
  SwaggerUIBundle({
    url: "/openapi.json", dom_id: "#page", deepLinking: true, validatorUrl: null,
    presets: [SwaggerUIBundle.presets.apis], layout: "BaseLayout",
  });
});
"""
_REDOC_START = """window.addEventListener("load", () => {
  Redoc.init("/openapi.json", {hideLoading: true}, document.getElementById("page"));
});
"""
_STARTS: Mapping[str, str] = {"swagger-start.js": _SWAGGER_START, "redoc-start.js": _REDOC_START}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="/docs/static/favicon.png">
{styles}</head>
<body>
<div id="page"></div>
{scripts}</body>
</html>
"""


@cache
def viewer_files() -> Mapping[str, Path]:
    """Return the viewers' files by name. Raises FileNotFoundError when the wheel is missing."""
    spec = find_spec("fastapi_offline")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the viewers' files come with the package fastapi-offline")
    folder = Path(spec.origin).parent / "static"
    return {file.name: file for file in folder.iterdir() if file.suffix in _MEDIA_TYPES}


async def swagger(_request: Request) -> Response:
    """Serve D43."""
    return _page("swagger-ui-bundle.js", "swagger-start.js", style="swagger-ui.css")


async def redoc(_request: Request) -> Response:
    """Serve D44."""
    return _page("redoc.standalone.js", "redoc-start.js")


async def viewer_file(request: Request) -> Response:
    """Serve a script, style or picture of the two pages."""
    name = request.path_params["file"]
    if name in _STARTS:
        return Response(_STARTS[name], media_type="text/javascript", headers=_KEEP)
    if name not in viewer_files():
        raise NotFound(f"There is no file {name}.")
    data, media_type = _read(name)
    return Response(data, media_type=media_type, headers=_KEEP)


async def openapi(_request: Request) -> Response:
    """Serve D45."""
    return Response(_document(), media_type="application/json")


@cache
def _read(name: str) -> tuple[bytes, str]:
    path = viewer_files()[name]
    return path.read_bytes(), _MEDIA_TYPES[path.suffix]


@cache
def _document() -> bytes:
    return orjson.dumps(openapi_document())


def _page(*scripts: str, style: str = "") -> Response:
    styles = f'<link rel="stylesheet" href="/docs/static/{style}">\n' if style else ""
    tags = "".join(f'<script src="/docs/static/{name}"></script>\n' for name in scripts)
    page = _PAGE.format(title=TITLE, styles=styles, scripts=tags)
    headers = {"content-security-policy": _CSP, "referrer-policy": "no-referrer"}
    return Response(page, media_type="text/html", headers=headers)
