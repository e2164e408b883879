"""The bundled formats: every signature proves its headers."""

from __future__ import annotations

import pytest

from openmetering.codec.apl.format import RecordFormat, signature
from openmetering.codec.apl.known_formats import known_formats
from openmetering.tables import KNOWN_FORMATS


@pytest.mark.parametrize("row", KNOWN_FORMATS, ids=lambda row: row.signature)
def test_every_signature_is_the_crc_of_its_headers(row):
    headers = bytes.fromhex(row.headers)
    assert f"{signature(headers):04X}" == row.signature
    record_format = RecordFormat.parse(headers)
    assert record_format.octets == headers
    assert len(record_format.headers) > 1
    assert row.source


def test_the_store_holds_them_all_and_is_unchanged():
    store = known_formats()
    assert len(store) == len(KNOWN_FORMATS)
    assert store.changed is False
    for row in KNOWN_FORMATS:
        assert [found.octets.hex().upper() for found in store.find(int(row.signature, 16))] == [row.headers]
    assert {row.source for row in store.stored()} == {row.source for row in KNOWN_FORMATS}


def test_every_store_is_its_own():
    first, second = known_formats(), known_formats()
    first.add(RecordFormat.parse(b"\x01\x13"))
    assert len(first) == len(second) + 1
    assert (first.changed, second.changed) == (True, False)
