"""Anatomy of a telegram: every octet with its offset, layer, field, value and meaning.

anatomy(telegram)   parts -> sections -> segments, every octet of the frame and of what was
                    opened of it in exactly one segment
redact(anatomy)     the same without identity and key material
"""

from __future__ import annotations

from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.telegram.anatomy.layers import walk
from openmetering.telegram.anatomy.model import FRAME, PLAINTEXT, Anatomy, Bit, Fact, Part, Section, Segment
from openmetering.telegram.anatomy.redaction import NOTE, redact
from openmetering.telegram.model import Telegram

__all__ = ["FRAME", "NOTE", "PLAINTEXT", "Anatomy", "Bit", "Fact", "Part", "Section", "Segment", "anatomy", "redact"]

_SPECIAL_ADDRESS = 251  #: from here on primary addresses have a meaning of their own
_STATES = {
    "plain": "not encrypted",
    "decrypted": "decrypted",
    "already-plain": "decrypted before it came here",
    "key-missing": "encrypted, no key",
    "failed": "not opened",
}


def anatomy(telegram: Telegram) -> Anatomy:
    """Explain a telegram octet by octet; a frame with a fault up to the fault, then its rest raw.

    Octets   ``telegram.frame`` and what the decoder opened of it
    Raises   nothing, whatever the octets
    """
    facts = tuple(fact for fact in (*_who(telegram), *_how(telegram), *_what(telegram)) if fact.value)
    return Anatomy(_title(telegram), facts, walk(telegram), telegram.error, telegram.warnings)


def _title(telegram: Telegram) -> str:
    link = telegram.link
    if link is None:
        return "Octets that are no telegram"
    kind = "wired" if isinstance(link, WiredFrame) else "wireless"
    medium = "" if telegram.address is None else f", {telegram.address.medium}"
    return f"{link.message}, {kind}{medium}"


def _who(telegram: Telegram) -> list[Fact]:
    address, link = telegram.address, telegram.link
    facts = []
    if address is not None:
        facts = [
            Fact("manufacturer", address.manufacturer_text),
            Fact("identification number", address.identification, secret=True),
            Fact("version", f"{address.version:02X}h"),
            Fact("device type", f"{address.device_type:02X}h {address.medium}"),
            Fact("DIN 43863-5", address.din or "", secret=True),
        ]
    if isinstance(link, WirelessFrame) and address is not None and link.address != address:
        facts.append(Fact("sent by", str(link.address), secret=True))
    if isinstance(link, WiredFrame) and link.kind != "single":
        facts.append(Fact("primary address", str(link.address), secret=0 < link.address < _SPECIAL_ADDRESS))
    return facts


def _how(telegram: Telegram) -> list[Fact]:
    link, report = telegram.link, telegram.security
    facts = []
    if link is not None:
        form = (
            link.kind if isinstance(link, WiredFrame) else f"format {link.frame_format}" if link.frame_format else "without CRCs"
        )
        facts = [Fact("message", link.message), Fact("frame", form)]
    words = [_STATES.get(report.state, report.state)]
    if report.profile not in (None, "none"):
        words.append("encryption of the extended link layer" if report.profile == "ELL" else f"profile {report.profile}")
    if report.mode is not None:
        words.append(f"mode {report.mode}")
    if report.proof is not None:
        words.append(f"proof {report.proof}" + ("" if report.authenticated else ", nothing is authenticated"))
    if telegram.transport is not None or telegram.ell is not None:
        facts.append(Fact("security", ", ".join(words)))
    if report.counter is not None:
        facts.append(Fact("message counter", str(report.counter)))
    return facts


def _what(telegram: Telegram) -> list[Fact]:
    number = len(telegram.records)
    return [Fact("records", str(number) if number else "")]
