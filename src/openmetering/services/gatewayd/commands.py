"""Orders of a head-end: each is carried out once, and its result is told until the head-end knows it.

    new --written down--> open --to the machine--> ... --result written down--> done --told--> known

An id that is known is never begun again. After a restart the machines say what became of exchanges that were under way; of
those that no machine remembers (not reached yet, or over with the result not written down) nobody knows it. The file is on
the disk before an order reaches a machine and before its result goes up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec

from openmetering.errors import InputError
from openmetering.services.gatewayd.files import save
from openmetering.services.gatewayd.messages import Result

__all__ = ["CommandBook", "Known"]

_KEPT: Final = 2_000  #: orders whose result the head-end knows


class Known(msgspec.Struct, frozen=True):
    """An order. ``token`` names its exchange to the machine of ``source``; None where it has no exchange."""

    id: str
    source: str = ""
    token: int | None = None
    result: Result | None = None
    told: bool = False


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    next_token: int = 1
    orders: tuple[Known, ...] = ()
    format: int = 1


class CommandBook:
    """The orders of a gateway. Raises InputError (``state.unreadable``) for a file that is none of ours."""

    __slots__ = ("_next", "_orders", "_path", "_tokens")

    def __init__(self, path: Path) -> None:
        self._path = path
        file = _read(path)
        self._next = file.next_token
        self._orders = {known.id: known for known in file.orders}
        self._tokens = {known.token: known.id for known in file.orders if known.token is not None and known.result is None}

    def __contains__(self, name: str) -> bool:
        return name in self._orders

    @property
    def results(self) -> tuple[Result, ...]:
        """Results that the head-end does not know, in the order of the orders."""
        return tuple(known.result for known in self._orders.values() if known.result is not None and not known.told)

    def open_exchanges(self) -> tuple[tuple[str, int], ...]:
        """Source and token of the exchanges that have no result yet."""
        return tuple((self._orders[name].source, token) for token, name in self._tokens.items())

    def token(self, name: str) -> tuple[int, str] | None:
        """Token and source of an order that has no result yet."""
        known = self._orders.get(name)
        return None if known is None or known.token is None or known.result is not None else (known.token, known.source)

    def begin(self, name: str, source: str) -> int:
        """A new order with an exchange; written down when it returns. Raises TransportError."""
        token, self._next = self._next, self._next + 1
        self._orders[name] = Known(name, source, token)
        self._tokens[token] = name
        self._save()
        return token

    def name(self, token: int) -> str | None:
        """The order that an exchange belongs to; None if its result is known."""
        return self._tokens.get(token)

    def finish(self, result: Result) -> None:
        """The result of an order, with or without an exchange; the first one counts. Raises TransportError."""
        known = self._orders.get(result.id, Known(result.id))
        if known.result is not None:
            return
        self._orders[result.id] = msgspec.structs.replace(known, result=result)
        if known.token is not None:
            self._tokens.pop(known.token, None)
        self._save()

    def told(self, names: tuple[str, ...]) -> None:
        """The head-end knows these results. Raises TransportError."""
        fresh = [known for name in names if (known := self._orders.get(name)) is not None and known.result and not known.told]
        if not fresh:
            return
        for known in fresh:
            self._orders[known.id] = msgspec.structs.replace(known, told=True, result=Result(known.id, "done"))
        surplus = [name for name, known in self._orders.items() if known.told][:-_KEPT]
        for name in surplus:
            del self._orders[name]
        self._save()

    def _save(self) -> None:
        save(self._path, msgspec.json.encode(_File(self._next, tuple(self._orders.values()))))


def _read(path: Path) -> _File:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return _File()
    except (OSError, msgspec.MsgspecError) as error:
        raise InputError(f"{path} cannot be used: {error}", code="state.unreadable", layer="storage") from None
