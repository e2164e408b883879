"""Redaction of an anatomy: nothing that names a device or opens a telegram is left, everything else is."""

from __future__ import annotations

import re

import msgspec
import pytest
from hypothesis import given

from openmetering import Decoder, Telegram, examine
from openmetering.codec.link.wireless import frame as add_crc
from openmetering.telegram.anatomy import Anatomy, anatomy, redact
from tests.telegram.anatomy_checks import (
    at,
    clean,
    covered,
    identities,
    mutated,
    written,
)
from tests.telegram.building import (
    KEY,
    METER,
    WATER,
    frame,
    wired,
    wireless,
)
from tests.telegram.test_own_vectors import VECTORS, read

# -- redaction -----------------------------------------------------------------------------------------------------------


def _absent(texts: set[str], item: Anatomy) -> None:
    text = written(item).upper()
    for identity in texts:
        assert identity.upper() not in text, identity


@pytest.mark.parametrize("name", VECTORS)
def test_no_identity_is_left_of_our_vectors(name: str) -> None:
    for telegram in read(VECTORS[name]):
        _absent(identities(telegram), clean(telegram))


@given(mutated())
def test_no_identity_is_left_of_mutated_frames(case: tuple[bytes, bytes | None]) -> None:
    octets, key = case
    telegram = Decoder().examine(octets, key)
    _absent({text for text in identities(telegram) if len(text) > 5}, clean(telegram))


def test_manufacturer_and_readings_are_kept() -> None:
    item = clean(Decoder().examine(frame(profile="B", counter=9), KEY))
    text = written(item)
    assert "OMG" in text
    assert "28504.27 m3" in text
    assert "water" in text


IDENTIFYING = {
    "fabrication number": "0C7821436587",
    "customer location": "0DFD100A" + b"9876543210"[::-1].hex(),
    "customer": "0DFD1106" + b"Meyers"[::-1].hex(),
    "password": "04FD16DDCCBBAA",
    "address": "017AFA",
    "enhanced identification": "0779" + "2143658793150102",
    "container": "0DFD3B0D" + "0C44A73D21436587010779CC67",
    "manufacturer data": "0F" + b"SN 87654321".hex(),
    "unknown quantity": "046F21436587",
    "manufacturer's quantity": "04FF2221436587",
    "manufacturer's extension": "0493FF5521436587",
}


@pytest.mark.parametrize("octets", IDENTIFYING.values(), ids=IDENTIFYING)
@pytest.mark.parametrize("profile", ["none", "B"])
def test_identifying_records_are_redacted(octets: str, profile: str) -> None:
    content = WATER + bytes.fromhex(octets)
    telegram = Decoder().examine(frame(content, profile=profile, counter=9), KEY)
    assert telegram.ok
    data = telegram.manufacturer_data or telegram.records[-1].raw
    item = clean(telegram)
    text = written(item).upper()
    if len(data) > 1:
        assert data.hex().upper() not in text
        assert data.hex(" ").upper() not in text
    else:
        assert [segment.octets for segment in item.segments if segment.field == "data"][-1] == "xx"
    for word in ("87654321", "9876543210", "MEYERS", "0123456789"):
        assert word not in text
    assert "28504.27 M3" in text


def test_ciphertext_checks_and_proofs_are_redacted() -> None:
    octets = add_crc(frame(profile="D", counter=9))
    telegram = Decoder().examine(octets, KEY)
    kinds = {segment.secret for segment in covered(telegram).segments}
    assert {"identity", "cipher", "proof", "check"} <= kinds
    item = clean(telegram)
    shown = [segment for segment in item.parts[0].segments if "x" not in segment.octets]
    assert not {"CRC", "CCM tag", "encrypted octets"} & {segment.field for segment in shown}
    assert KEY.hex().upper() not in written(item)


def test_a_repeated_number_is_found_in_other_fields() -> None:
    repeated = (
        bytes.fromhex("04137856341204FD0812345678") + bytes.fromhex("02137856") + bytes.fromhex("0213 3412".replace(" ", ""))
    )
    item = clean(Decoder().examine(wireless(b"\x78" + repeated)))
    data = [segment for segment in item.segments if segment.field == "data"]
    assert [segment.redacted for segment in data] == [True, True, False, False]
    sections = [section for section in item.parts[0].sections if section.title.startswith("Record 1")]
    assert sections[0].summary == "redacted"


def test_a_repetition_over_two_fields_is_found() -> None:
    octets = bytes.fromhex("0078563412")  # a record without data, then VIF and data that spell the number
    item = clean(Decoder().examine(wireless(b"\x78" + octets)))
    assert "78563412" not in "".join(segment.octets for segment in item.segments)


def test_digits_that_are_no_whole_octets_are_no_repetition() -> None:
    item = clean(Decoder().examine(wireless(b"\x78" + bytes.fromhex("0713F785634120000000"))))
    assert [segment.redacted for segment in item.segments if segment.field == "data"] == [False]


def test_messages_do_not_tell_what_was_redacted() -> None:
    octets = add_crc(frame())
    broken = octets[:-1] + bytes((octets[-1] ^ 1,))
    telegram = examine(broken)
    assert telegram.error is not None
    computed = re.findall(r"computed ([0-9A-F]+)h", telegram.error.message)
    assert computed
    text = written(clean(telegram))
    assert computed[0] not in text
    assert "computed xxh" in text
    missing = clean(examine(frame(profile="A")))
    assert missing.error is not None
    assert missing.error.message == "no key for OMG-redacted-01-07"


def test_a_primary_address_is_an_identity() -> None:
    item = clean(examine(wired("78" + WATER.hex(), address=77)))
    assert [fact.value for fact in item.facts if fact.name == "primary address"] == ["redacted"]
    assert at(item, 5).octets == "xx"


def test_numbers_of_zeros_do_not_blank_everything() -> None:
    zero = msgspec.structs.replace(METER, identification="00000000")
    item = clean(examine(wireless("78" + "04130000000004FD1700000000", address=zero)))
    assert [segment.redacted for segment in item.segments if segment.field == "data"] == [False, False]


def test_redaction_of_a_redaction_changes_nothing_more() -> None:
    telegram: Telegram = examine(frame())
    once = redact(anatomy(telegram))
    assert [segment.octets for segment in once.segments if "x" in segment.octets]
    assert "12345678" not in written(once)
