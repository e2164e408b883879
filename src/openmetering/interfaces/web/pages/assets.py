"""Style, script, icons and the few files of others, served from memory under names that change with their content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Annotated

import msgspec
from litestar import Response, get
from litestar.exceptions import NotFoundException
from litestar.params import PathParameter

from openmetering.interfaces.web.explain_page import explain_script, explain_style

FilePath = Annotated[str, PathParameter()]

__all__ = ["Asset", "asset_link", "assets", "static_file"]

_TYPES = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
_FOREVER = "public, max-age=31536000, immutable"


class Asset(msgspec.Struct, frozen=True):
    """A file, its media type and a short digest of what is in it."""

    octets: bytes
    media_type: str
    digest: str


def _walk(place: Traversable, prefix: str = "") -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in place.iterdir():
        if entry.is_dir():
            found |= _walk(entry, f"{prefix}{entry.name}/")
        elif entry.name.rpartition(".")[2] in _TYPES:
            found[prefix + entry.name] = entry.read_bytes()
    return found


@cache
def assets() -> dict[str, Asset]:
    """Name -> file. The sheet and script of the explain view are those of ``oms explain``."""
    texts = _walk(files("openmetering.interfaces.web").joinpath("static"))
    texts |= {"explain.css": explain_style().encode(), "explain.js": explain_script().encode()}
    return {
        name: Asset(octets, _TYPES[name.rpartition(".")[2]], hashlib.sha256(octets).hexdigest()[:12])
        for name, octets in texts.items()
    }


@cache
def asset_link(name: str) -> str:
    """The address of a file. Raises KeyError if there is none of that name."""
    return f"/static/{name}?v={assets()[name].digest}"


@get("/static/{name:path}", opt={"public": True}, include_in_schema=False, sync_to_thread=False)
def static_file(name: FilePath) -> Response[bytes]:
    """A file; browsers may keep it, as its address changes with it."""
    found = assets().get(name.removeprefix("/"))
    if found is None:
        raise NotFoundException("there is no such file")
    return Response(found.octets, media_type=found.media_type, headers={"Cache-Control": _FOREVER, "ETag": f'"{found.digest}"'})
