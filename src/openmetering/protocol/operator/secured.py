"""Secured commands that are executed once, whatever is lost on the way.

    execute   counter reserved and journal saved -> container sent -> answer verified -> journal closed
              the answer is lost:   ask for it again (REQ-UD2); it counts if it names our key counter
                                    else settle
    settle    the key counters of the device (BCF 09) tell whether the command was taken:
                counter of the device >= ours   taken, never sent again
                counter of the device <  ours   not taken: the very same container goes out again
                no such list                    unknown: the caller is told, nothing goes out again

The same container carries the same key counter, so a device executes it once at most even if a copy
of the first one comes late. After a power cut of the operator the caller asks for the same command
anew; the journal knows that one is open and it is settled first.
Source: EN 13757-7:2018 A.9.1 (key counter, single execution); OMS Volume 2 Annex F F.A.5 (BCF 09).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from openmetering.codec.address import Address
from openmetering.codec.apl.security_transfer import KeyList, SitpBlock
from openmetering.errors import DecodeError, ExchangeFailed, OmsError, Refused, SecurityError
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import ask, send_block
from openmetering.protocol.operator.differences import differences
from openmetering.protocol.operator.head_end import Confirmation, HeadEnd, Order, Secured, read_key_list
from openmetering.protocol.operator.journal import OpenCommand
from openmetering.protocol.operator.steps import Procedure

__all__ = ["ATTEMPTS", "Settled", "execute", "execute_then", "key_list", "settle", "synchronise_counters"]

ATTEMPTS: Final = 3  #: how often a container goes out at most
R = TypeVar("R")
_ACTIVE_KEYS, _KEYS_AND_COUNTERS = 0x08, 0x09
_NO_STRUCTURE = 0x00
_NO_KEY = b"\xff\xff"
_APPLICATION_WRAPPER = 0x14


class Settled(msgspec.Struct, frozen=True):
    """What the key counters of a device say about an open command; ``taken`` None: nothing."""

    command: OpenCommand
    taken: bool | None


def _list_header(head_end: HeadEnd, device: Address, issue: str) -> bytes:
    """DSH of a request for a key list [?].

    Release A demands ASP01 for it, but neither the empty command nor the list (DSI 21, 23) has anything that
    can be wrapped: naming the application wrapper key is what is left. Release C demands no ASP: FF FF.
    Source   OMS Volume 2 Annex M release A Table M.27, release C Table M.28; Annex F Table F.A.5 (DSI 00)
    """
    if not differences(issue).lists_name_wrapper:
        return _NO_KEY
    return bytes((_APPLICATION_WRAPPER, head_end.version(device, _APPLICATION_WRAPPER)))


def key_list(head_end: HeadEnd, device: Address, *, counters: bool = False, issue: str = "5.0.1") -> Procedure[KeyList]:
    """UC-08, list of active keys (BCF 08), or with key counters (BCF 09).

    Source   OMS Volume 2 Annex M release C Table M.28 (release A Table M.27)
    Raises   Refused, ExchangeFailed, DecodeError
    """
    control = _KEYS_AND_COUNTERS if counters else _ACTIVE_KEYS
    answer = yield from send_block(SitpBlock(0, control, _NO_STRUCTURE, _list_header(head_end, device, issue), b""))
    return read_key_list(answer)


def _taken(command: OpenCommand, keys: KeyList) -> bool | None:
    """Whether a list of key counters shows that a command was taken; None if its key is not listed in this version."""
    for entry in keys.entries:
        if entry.key_id == command.key_id and entry.key_version in (command.version, 0xFF) and entry.counter is not None:
            return entry.counter >= command.counter
    return None


def settle(head_end: HeadEnd, device: Address, *, keep: bool = False, issue: str = "5.0.1") -> Procedure[tuple[Settled, ...]]:
    """Find out which open commands of a device were taken. Those that were are closed; the others stay open.

    ``keep`` leaves them all open, for whoever asked for them and lost his power will ask for the same again.
    Asks nothing if no command is open. Raises ExchangeFailed, DecodeError; a device without the list gives None.
    """
    commands = head_end.journal(device).commands
    if not commands:
        return ()
    try:
        keys = yield from key_list(head_end, device, counters=True, issue=issue)
    except Refused:
        return tuple(Settled(command, None) for command in commands)
    settled = tuple(Settled(command, _taken(command, keys)) for command in commands)
    for one in settled:
        if one.taken and not keep:
            head_end.close(device, one.command.key_id)
    return settled


def _verdict(head_end: HeadEnd, device: Address, key_id: int, issue: str) -> Procedure[bool | None]:
    """Whether the open command under a key was taken; None where it cannot be found out."""
    try:
        settled = yield from settle(head_end, device, keep=True, issue=issue)
    except (ExchangeFailed, DecodeError):
        return None
    return next((one.taken for one in settled if one.command.key_id == key_id), None)


def synchronise_counters(head_end: HeadEnd, device: Address, *, issue: str = "5.0.1") -> Procedure[KeyList]:
    """Take over versions and key counters from the device: for a head-end that lost its journal.

    Raises Refused, ExchangeFailed, DecodeError.
    """
    keys = yield from key_list(head_end, device, counters=True, issue=issue)
    journal = head_end.journal(device)
    for entry in keys.entries:
        if entry.key_version != 0xFF:
            journal = journal.with_version(entry.key_id, entry.key_version)
        version = journal.version(entry.key_id) or 0
        journal = journal.with_counter(entry.key_id, version, entry.counter or 0)
    head_end.keep(journal)
    return keys


def _unknown(device: Address, order: Order) -> ExchangeFailed:
    what = order.meaning or f"a command under key {order.key_id:02X}h"
    return ExchangeFailed(
        f"nobody knows whether {device} executed it: {what}; it is not sent again", reason="no-answer", delivered=None
    )


def _take_up(head_end: HeadEnd, device: Address, order: Order, issue: str) -> Procedure[Secured | Confirmation]:
    """What to send for an order: a new container, or, where the same order is still open, what became of that one.

    Raises ExchangeFailed if it is open and nobody knows.
    """
    command = head_end.journal(device).command(order.key_id)
    if command is None:
        return head_end.secure(device, order)
    taken = yield from _verdict(head_end, device, order.key_id, issue)
    if command.digest != order.digest:  # another order: its counter is higher, so the old container is void from now on
        return head_end.secure(device, order)
    if taken is None:
        raise _unknown(device, order)
    return Confirmation("counter") if taken else head_end.again(device, command, order)


def _fetch(head_end: HeadEnd, device: Address, secured: Secured, delivered: bool | None) -> Procedure[Confirmation | None]:
    """Ask for the answer once more; None if what comes cannot be told to be the answer to this command.

    An answer with data names the key counter. A status or an application error does not: it counts only if the
    command was acknowledged, for then the application of the device has none but this answer.
    Raises Refused.
    """
    try:
        answered = yield from ask(None)
        confirmation = head_end.verify(device, secured, answered)
    except Refused:
        if delivered:
            raise
        return None
    except (ExchangeFailed, DecodeError, SecurityError):
        return None
    return confirmation if delivered or confirmation.status is None else None


def execute(head_end: HeadEnd, device: Address, order: Order, *, issue: str = "5.0.1") -> Procedure[Confirmation]:
    """Have a secured command executed, once.

    Source   OMS Volume 2 Annex M release C, M.1.4 and M.1.5 (clauses to confirm); Annex N release E, N.12
    Raises   Refused in words; ExchangeFailed with ``delivered`` None if the outcome stays unknown (the journal keeps
             the command open), False if it never left; KeyNotFound, SecurityError, DecodeError
    """
    confirmation = yield from _carry_out(head_end, device, order, issue)
    head_end.close(device, order.key_id)
    return confirmation


def execute_then(
    head_end: HeadEnd, device: Address, order: Order, finish: Callable[[Confirmation], Procedure[R]], *, issue: str = "5.0.1"
) -> Procedure[R]:
    """Have a secured command executed, once, and do what belongs to it: read what it has changed, where no answer told.

    The journal is closed behind ``finish``. Who loses his power in it asks for the same command again, and it is the
    reading that is done again, not the command. Raises what ``execute`` and ``finish`` raise.
    """
    confirmation = yield from _carry_out(head_end, device, order, issue)
    result = yield from finish(confirmation)
    head_end.close(device, order.key_id)
    return result


def _carry_out(head_end: HeadEnd, device: Address, order: Order, issue: str) -> Procedure[Confirmation]:
    """What ``execute`` does; a command that was taken stays open in the journal."""
    taken_up = yield from _take_up(head_end, device, order, issue)
    if isinstance(taken_up, Confirmation):
        return taken_up
    secured = taken_up
    fault: OmsError = _unknown(device, order)
    for _ in range(ATTEMPTS):
        delivered: bool | None = None
        try:
            answered = yield from ask(Command("sitp", secured.payload))
            confirmation = head_end.verify(device, secured, answered)
        except Refused:
            head_end.close(device, order.key_id)
            raise
        except ExchangeFailed as failure:
            if failure.delivered is False:
                head_end.close(device, order.key_id)
                raise
            fault, delivered = failure, failure.delivered
        except (SecurityError, DecodeError) as mismatch:
            fault = mismatch
        else:
            return confirmation
        found = yield from _recover(head_end, device, secured, fault, delivered, issue)
        if found is not None:
            return found
    raise fault


def _recover(
    head_end: HeadEnd, device: Address, secured: Secured, fault: OmsError, delivered: bool | None, issue: str
) -> Procedure[Confirmation | None]:
    """The answer is missing: fetch it, else settle. None: not taken, to be sent again.

    Raises Refused if the answer is a refusal, ExchangeFailed if nobody knows.
    """
    key_id = secured.command.key_id
    try:
        fetched = yield from _fetch(head_end, device, secured, delivered)
    except Refused:
        head_end.close(device, key_id)
        raise
    if fetched is not None:
        return fetched
    taken = yield from _verdict(head_end, device, key_id, issue)
    if taken is None:
        raise ExchangeFailed(
            f"nobody knows whether {device} executed it: {secured.command.meaning or 'a secured command'}",
            reason="no-answer",
            delivered=delivered,
        ) from fault
    return Confirmation("counter") if taken else None
