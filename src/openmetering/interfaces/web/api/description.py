"""The OpenAPI description as it is served: short names of schemas, descriptions and examples made from real values."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, cast

import msgspec
from litestar.enums import OpenAPIMediaType
from litestar.openapi.plugins import OpenAPIRenderPlugin

from openmetering.interfaces.web.api.examples import EXAMPLES

if TYPE_CHECKING:
    from typing import Any

    from litestar import Request

__all__ = ["Description", "finished"]

_LISTING = re.compile(r"Listing_(?:\w+\.)*(\w+?)_(?=\")")
_BY_TITLE = {type(example).__name__: example for example in EXAMPLES}


def _words(schema: type) -> str:
    return " ".join((inspect.getdoc(schema) or "").replace("``", "`").split())


def finished(octets: bytes) -> bytes:
    """A description of the framework, made ready for people: JSON in, JSON out."""
    text = _LISTING.sub(lambda found: f"ListingOf{found[1].capitalize() if found[1].islower() else found[1]}", octets.decode())
    description = msgspec.json.decode(text)
    for name, schema in description["components"]["schemas"].items():
        example = _BY_TITLE.get(name)
        if example is not None:
            schema["description"] = _words(type(example))
            schema["examples"] = [cast("object", msgspec.to_builtins(example))]
            if type(example).__struct_config__.forbid_unknown_fields:
                schema["additionalProperties"] = False
    return msgspec.json.encode(description)


class Description(OpenAPIRenderPlugin):
    """Serves the description; it is made once."""

    def __init__(self) -> None:
        super().__init__(path="/openapi.json", media_type=OpenAPIMediaType.OPENAPI_JSON)
        self._octets = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """The description as JSON; ``openapi_schema`` is the one of the framework."""
        if not self._octets:
            self._octets = finished(self.render_json(request, openapi_schema))
        return self._octets
