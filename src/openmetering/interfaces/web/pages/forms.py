"""Forms that browsers send: text fields and files, read with care. A form is data of the peer, whatever the page offered."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal, InvalidOperation
from typing import Annotated, TypeVar
from zoneinfo import ZoneInfo

from litestar.datastructures import UploadFile
from litestar.enums import RequestEncodingType
from litestar.params import Body

from openmetering.services.headend.problems import invalid

__all__ = ["Form", "Posted", "PostedFile", "beginning", "day_of"]

Posted = Annotated[dict[str, str], Body(media_type=RequestEncodingType.URL_ENCODED)]
PostedFile = Annotated[dict[str, object], Body(media_type=RequestEncodingType.MULTI_PART)]

_LONGEST = 4096
T = TypeVar("T")


def day_of(text: str) -> date:
    """A day as it was entered. Raises InputError (``access.invalid``)"""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise invalid("a day is written 2025-12-31") from None


def beginning(day: date, zone: ZoneInfo) -> datetime:
    """When a day begins in local time."""
    return datetime.combine(day, time.min, zone)


class Form:
    """The fields of a form. Raises InputError (``access.invalid``) for what cannot be read."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Mapping[str, object]) -> None:
        self._fields = fields

    def text(self, name: str, *, longest: int = _LONGEST) -> str:
        """A line or a text without the space around it; empty if it is missing."""
        value = self._fields.get(name, "")
        if isinstance(value, (list, tuple)):
            value = value[0] if value else ""
        if not isinstance(value, str):
            raise invalid(f"{name} is not a text")
        if len(value) > longest or "\x00" in value:
            raise invalid(f"{name} is too long, or not a text")
        return value.strip()

    def secret(self, name: str) -> str:
        """A password, exactly as typed."""
        value = self._fields.get(name, "")
        if not isinstance(value, str) or len(value) > _LONGEST:
            raise invalid(f"{name} is not a text, or too long")
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a field that may come several times."""
        value = self._fields.get(name, ())
        found = [value] if isinstance(value, str) else value
        if not isinstance(found, (list, tuple)) or not all(isinstance(one, str) for one in found):
            raise invalid(f"{name} is not a list of texts")
        return tuple(one for one in found if one)

    def optional(self, name: str) -> str | None:
        """A text, or None for an empty one."""
        return self.text(name) or None

    def number(self, name: str) -> int | None:
        """A whole number, or None if the field is empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            return int(text, 0) if not text.lstrip("+-").isdecimal() else int(text)
        except ValueError:
            raise invalid(f"{name} is not a whole number") from None

    def decimal(self, name: str) -> str | None:
        """A number with decimals, written with a point or a comma, or None if the field is empty."""
        text = self.text(name, longest=40).replace(",", ".")
        if not text:
            return None
        try:
            Decimal(text)
        except InvalidOperation:
            raise invalid(f"{name} is not a number") from None
        return text

    def flag(self, name: str) -> bool:
        """A box that was ticked."""
        return bool(self.text(name))

    def moment(self, name: str) -> datetime | None:
        """A time as ``datetime-local`` fields send it, in UTC; None if the field is empty."""
        text = self.text(name)
        if not text:
            return None
        try:
            found = datetime.fromisoformat(text)
        except ValueError:
            raise invalid(f"{name} is not a time") from None
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)

    def file(self, name: str) -> bytes:
        """The octets of a file; empty if none was chosen."""
        value = self._fields.get(name)
        return value.file.read() if isinstance(value, UploadFile) else b""
