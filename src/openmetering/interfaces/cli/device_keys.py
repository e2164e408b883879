"""``oms device keys``: UC-08."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from openmetering.codec.apl.security_transfer import KeyList
from openmetering.errors import InputError
from openmetering.interfaces.cli import device_show as show
from openmetering.interfaces.cli.device_call import Call
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.journal import RenewalEntry
from openmetering.protocol.operator.keys import Renewed, destroy_key, renew_key, transfer_key
from openmetering.protocol.operator.secured import key_list, synchronise_counters
from openmetering.protocol.operator.steps import Ask, Pause, Procedure, Progress
from openmetering.security import key_purpose, parse_key

__all__ = ["COMMANDS"]

EPILOG = """\b
Examples
  oms device keys ELS-12345678-33-03 list --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device keys ELS-12345678-33-03 counters --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device keys ELS-12345678-33-03 renew 0x00 1 --via mbus:/dev/ttyUSB1 --keys keys.csv   version 1 stands in keys.csv
  oms device keys ELS-12345678-33-03 renew 0x20 1 --new-key 00112233445566778899AABBCCDDEEFF --via ...
  oms device keys ELS-12345678-33-03 synchronise --via ...                                  the state file was lost

\b
A key file names KeyID and KeyVersion: ELS-12345678-33-03,001122...,0x20,1
"""


_FORGOTTEN = 256.0  #: seconds after which a device has given an answer up (OMS Volume 2 5.0.1 clause 8.2: 255 s)


class KeyAction(StrEnum):
    """What can be done with keys."""

    list = "list"
    counters = "counters"
    synchronise = "synchronise"
    transfer = "transfer"
    activate = "activate"
    renew = "renew"
    destroy = "destroy"


def _octet(text: str | None, name: str) -> int:
    """Raises InputError."""
    try:
        value = int(text or "", 0)
    except ValueError:
        value = -1
    if not 0 <= value <= 0xFF:
        raise InputError(f"the {name} is an octet, 0x20 or 32")
    return value


def keys(
    call: Call,
    action: Annotated[KeyAction, typer.Argument(help="What to do.")],
    key_id: Annotated[str | None, typer.Argument(help="KeyID, e.g. 0x00 or 0x20.", metavar="[KEYID]")] = None,
    version: Annotated[str | None, typer.Argument(help="KeyVersion of the new key, 0 to 254.", metavar="[VERSION]")] = None,
    new_key: Annotated[
        str | None, typer.Option("--new-key", help="The new key, 32 hexadecimal digits (default: from the key file).")
    ] = None,
) -> None:
    """See which keys are in use, and bring new ones into the device (UC-08).

    renew is transfer and activate, and finishes an earlier attempt. A new key for the link is in use from then on: keep
    it in the key file, with its version, before you call. Without --new-key it has to stand there.
    """
    if action in _READING:
        _read(call, action)
        return
    number, wanted = _octet(key_id, "KeyID"), _octet(version, "KeyVersion")
    if new_key is not None:
        call.ring.add(call.device.link_octets(), parse_key(new_key), number, wanted)
    _require(call, action, number, wanted)
    danger = f"{call.device}: {action.value} key {number:02X} ({key_purpose(number)}), version {wanted:02X}."
    meaning = f"keys {action.value} {number:02X} {wanted:02X}"
    if action in (KeyAction.renew, KeyAction.activate):
        call.run(
            lambda head_end: _renew(head_end, call, number, wanted, transferred=action is KeyAction.activate),
            show.renewed,
            meaning=meaning,
            danger=danger,
        )
    elif action is KeyAction.transfer:
        call.run(
            lambda head_end: transfer_key(head_end, call.device, number, wanted),
            lambda found: show.done(f"version {wanted:02X} of key {number:02X} is in the device, not active"),
            meaning=meaning,
            danger=danger,
        )
    else:
        call.run(
            lambda head_end: destroy_key(head_end, call.device, number, wanted, issue=call.issue),
            lambda found: show.done(f"version {wanted:02X} of key {number:02X} is deleted"),
            meaning=meaning,
            danger=danger,
        )


def _require(call: Call, action: KeyAction, key_id: int, version: int) -> None:
    """A key that counts for every version is the old one: it is not sent as a new one. Raises InputError."""
    named = {key.version for key in call.ring.find(call.device.link_octets(), key_id=key_id)}
    if action in (KeyAction.transfer, KeyAction.renew) and version not in named:
        raise InputError(f"there is no key {key_id:02X} with version {version:02X}; add it to the key file or give --new-key")


_READING = (KeyAction.list, KeyAction.counters, KeyAction.synchronise)


def _read(call: Call, action: KeyAction) -> None:
    if action is KeyAction.synchronise:
        call.run(
            lambda head_end: _synchronise(head_end, call),
            show.key_list,
            meaning="keys synchronise",
        )
        return
    counters = action is KeyAction.counters
    call.run(
        lambda head_end: key_list(head_end, call.device, counters=counters, issue=call.issue),
        show.key_list,
        meaning=f"keys {action.value}",
    )


def _synchronise(head_end: HeadEnd, call: Call) -> Procedure[KeyList]:
    """Take over all counters. The device is asked for its data first: their message counter is taken over for the link.

    A refusal that is still there to be fetched is not protected and tells nothing; the device forgets it.
    """
    answered = yield Ask(None)
    if answered is not None and answered.protocol == "application-error":
        yield Progress(0, 1, "waiting until the device has forgotten its last refusal")
        yield Pause(_FORGOTTEN)
        yield Ask(None)
    return (yield from synchronise_counters(head_end, call.device, issue=call.issue))


def _renew(head_end: HeadEnd, call: Call, key_id: int, version: int, *, transferred: bool) -> Procedure[Renewed]:
    """Renew; a key that the file gives without a version is the one the device came with, version 0."""
    device = call.device
    journal = head_end.journal(device)
    known = call.ring.find(device.link_octets(), key_id=key_id)
    if journal.version(key_id) is None and any(key.version is None for key in known):
        head_end.adopt(device, key_id, 0)
    if transferred and journal.renewal(key_id) is None:
        old = head_end.version(device, key_id)
        head_end.note_renewal(device, RenewalEntry(key_id, old, version, "transferred"))
    return (yield from renew_key(head_end, device, key_id, version, issue=call.issue))


COMMANDS = (("keys", keys, EPILOG),)
