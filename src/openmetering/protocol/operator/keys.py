"""UC-08, key management: which keys are active, and a new version of a key.

    list        BCF 08, 09                          KeyIDs and KeyVersions in use, with key counters
    1 transfer  BCF 00, DSI 01, wrapped             the new version is in the device, not active
    -           a key for the link goes to the gateway, which goes on with the old one
    2 activate  BCF 04, DSI 03, wrapped, option 1   new in place of old; counters start again. A device whose link
                                                    key changed answers under the new one already
    3 destroy   BCF 03, DSI 02 (release A only)     an old version is deleted

The journal knows how far a renewal is. If the last answer is lost, the device is probed: its answer to a
request shows the KeyVersion and makes the gateway change over, and the list of active keys tells which
version it uses. Only if that is still the old one is the activation sent again.
Source: OMS Volume 2 Annex M release C M.2.9 (clause to confirm), Tables M.28 to M.30, Appendix M.A;
        release A M.2.10, Tables M.27 to M.29; Annex F F.A.5
"""

from __future__ import annotations

from typing import Final

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import DecodeError, ExchangeFailed, NotRepresentable, Refused
from openmetering.protocol.operator.answers import ask, send_block
from openmetering.protocol.operator.differences import differences, require_use_case
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.journal import RenewalEntry
from openmetering.protocol.operator.secured import ATTEMPTS, key_list, settle
from openmetering.protocol.operator.steps import Pause, Procedure, Progress, Provide

__all__ = ["Renewed", "active_version", "destroy_key", "key_list", "renew_key", "transfer_key"]

_LAST_COMMUNICATION = 0x0F
_PROBES: Final = 4  #: how often a device is asked which key it uses
_SECURITY_ERROR = 0x20  #: application error: for example a command under a key that is not active any more
_ERROR_LIFE: Final = 260.0  #: s, after which an application error is over (255 s, 5.0.1 clause 8.2.5)


class Renewed(msgspec.Struct, frozen=True):
    """A key that was renewed. ``resumed`` if an earlier attempt had left it half done."""

    key_id: int
    old: int
    new: int
    resumed: bool


def transfer_key(head_end: HeadEnd, device: Address, key_id: int, version: int) -> Procedure[None]:
    """UC-08, step 1: bring a new version of a key into the device. Repeating it does no harm.

    Source   OMS Volume 2 Annex M release C, Table M.29
    Raises   NotRepresentable, KeyNotFound before anything is sent; Refused, ExchangeFailed, DecodeError
    """
    yield from send_block(head_end.transfer_block(device, key_id, version))


def active_version(head_end: HeadEnd, device: Address, key_id: int, *, issue: str = "5.0.1") -> Procedure[int | None]:
    """Which version of a key the device uses; None if it does not tell.

    A request (REQ-UD2) is not encrypted, so a device whose link key has changed answers it, under the new key: that
    tells the version, and makes the gateway change over. Then the list of active keys is asked for. If the device
    refuses that with a security error, the gateway still uses the old key, and the error hides the answer: it is
    over after 255 s. Source: OMS Volume 2 Annex M release A M.2.10, notes 1 and 2, Appendix M.A; 5.0.1 clause 8.2.5.
    Raises   ExchangeFailed
    """
    failure: ExchangeFailed | None = None
    for _ in range(_PROBES):
        shown = (yield from _version_on_the_link(key_id)) if key_id <= _LAST_COMMUNICATION else None
        try:
            keys = yield from key_list(head_end, device, issue=issue)
        except ExchangeFailed as lost:
            failure = lost
        except (Refused, DecodeError) as refusal:
            if shown is not None or key_id > _LAST_COMMUNICATION or getattr(refusal, "error", None) != _SECURITY_ERROR:
                return shown
            failure = ExchangeFailed(refusal.message, reason="security", delivered=None)
            yield Pause(_ERROR_LIFE)
        else:
            return next((entry.key_version for entry in keys.entries if entry.key_id == key_id), None)
    raise failure or ExchangeFailed("the device was not asked", reason="no-answer", delivered=False)


def _version_on_the_link(key_id: int) -> Procedure[int | None]:
    """The KeyVersion under which an answer was opened and proven, None if it names another key or none."""
    try:
        answered = yield from ask(None)
    except ExchangeFailed:
        return None
    security = answered.security
    return security.key_version if security.authenticated and (security.key_id or 0) == key_id else None


def renew_key(head_end: HeadEnd, device: Address, key_id: int, version: int, *, issue: str = "5.0.1") -> Procedure[Renewed]:
    """UC-08, steps 1 and 2: a new version of any key; called again after a power cut it goes on where it was.

    The head-end's ring holds the new key under its KeyID and ``version``. Open commands under the old version are
    settled first, for its key counter is reset.
    Source   OMS Volume 2 Annex M release C, Tables M.29, M.30, Appendix M.A
    Raises   NotRepresentable, KeyNotFound before anything is sent; Refused (the device keeps the old version);
             ExchangeFailed (the journal keeps the renewal, call again); DecodeError
    """
    require_use_case(issue, "UC-08")
    renewal = head_end.journal(device).renewal(key_id)
    resumed = renewal is not None
    if renewal is None:
        old = head_end.version(device, key_id)
        if version == old:
            raise NotRepresentable(f"version {version} is the active one", field="version", value=version, layer="apl")
        head_end.transfer_block(device, key_id, version)  # all keys at hand? before the journal is written
        renewal = RenewalEntry(key_id, old, version, "transferring")
        head_end.note_renewal(device, renewal)
    elif renewal.new != version:
        raise NotRepresentable(
            f"the renewal to version {renewal.new} is not finished", field="version", value=version, layer="apl"
        )
    if renewal.stage == "transferring":
        yield Progress(0, 2, "transfer the key")
        yield from _transfer(head_end, device, renewal)
        renewal = msgspec.structs.replace(renewal, stage="transferred")
        head_end.note_renewal(device, renewal)
    yield Progress(1, 2, "activate the key")
    if key_id <= _LAST_COMMUNICATION:
        yield Provide(head_end.hand_out(device, key_id, version), key_id, version)
    if not (resumed and renewal.stage == "activating" and (yield from _uses(head_end, device, renewal, issue))):
        yield from _activate(head_end, device, renewal, issue)
    head_end.finish_renewal(device, renewal)
    return Renewed(key_id, renewal.old, version, resumed)


def _transfer(head_end: HeadEnd, device: Address, renewal: RenewalEntry) -> Procedure[None]:
    """Step 1; a lost answer is no matter, the same key may come again. Raises Refused, ExchangeFailed."""
    attempts = 0
    while True:
        attempts += 1
        try:
            yield from transfer_key(head_end, device, renewal.key_id, renewal.new)
        except ExchangeFailed as failure:
            if attempts == ATTEMPTS or failure.delivered is False:
                raise
        except Refused:
            head_end.give_up_renewal(device, renewal.key_id)
            raise
        else:
            return


def _uses(head_end: HeadEnd, device: Address, renewal: RenewalEntry, issue: str) -> Procedure[bool]:
    """Whether the device uses the new version. Raises ExchangeFailed if it does not tell."""
    version = yield from active_version(head_end, device, renewal.key_id, issue=issue)
    if version not in (renewal.old, renewal.new):
        raise ExchangeFailed(
            f"nobody knows which version of key {renewal.key_id:02X}h {device} uses", reason="no-answer", delivered=None
        )
    return version == renewal.new


def _activate(head_end: HeadEnd, device: Address, renewal: RenewalEntry, issue: str) -> Procedure[None]:
    """Step 2; after a lost answer the device is probed, and asked again only if it still uses the old version."""
    yield from settle(head_end, device, keep=True, issue=issue)
    head_end.note_renewal(device, msgspec.structs.replace(renewal, stage="activating"))
    block = head_end.activation_block(device, renewal.key_id, renewal.old, renewal.new)
    attempts = 0
    while True:
        attempts += 1
        try:
            yield from send_block(block)
        except Refused:
            head_end.note_renewal(device, msgspec.structs.replace(renewal, stage="transferred"))
            raise
        except ExchangeFailed as failure:
            if failure.delivered is False and attempts == 1:
                head_end.note_renewal(device, msgspec.structs.replace(renewal, stage="transferred"))
                raise
            active = yield from _uses(head_end, device, renewal, issue)
            if active:
                return
            if attempts == ATTEMPTS:
                raise
        else:
            return


def destroy_key(head_end: HeadEnd, device: Address, key_id: int, version: int, *, issue: str = "4.3.3") -> Procedure[None]:
    """UC-08, step 3: delete a version that is not active any more. Exists in release A only.

    Source   OMS Volume 2 Annex M release A, M.2.10; Annex F F.A.2.4: an active key must not be destroyed
    Raises   NotRepresentable before anything is sent; Refused, ExchangeFailed, DecodeError
    """
    if not differences(issue).keys_can_be_destroyed:
        raise NotRepresentable(f"issue {issue} does not destroy keys", field="oms_issue", value=issue, layer="apl")
    yield from send_block(head_end.destruction_block(device, key_id, version))
