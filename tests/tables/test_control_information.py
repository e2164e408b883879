"""The CI field against the printed tables, written out by hand."""

from __future__ import annotations

import pytest

from openmetering.tables import CONTROL_INFORMATION

# code(s), direction, header, protocol
PRINTED = [
    (range(0x20), "both", "none", "dlms-segment"),
    ([0x50], "down", "none", "application-reset"),
    ([0x51], "down", "none", "m-bus"),
    ([0x52], "down", "none", "select-device"),
    ([0x53], "down", "long", "application-reset"),
    ([0x54], "down", "none", "application-request"),
    ([0x55], "down", "long", "application-request"),
    ([0x56], "down", "short", "application-request"),
    ([0x57], "down", "short", "application-reset"),
    ([0x5A], "down", "short", "m-bus"),
    ([0x5B], "down", "long", "m-bus"),
    ([0x5C], "down", "none", "synchronise"),
    ([0x5F], "down", "long", "security-management"),
    ([0x60], "down", "long", "dlms"),
    ([0x61], "down", "short", "dlms"),
    ([0x62], "down", "short", "clock"),
    ([0x64], "down", "long", "sml"),
    ([0x65], "down", "short", "sml"),
    ([0x66], "up", "none", "application-response"),
    ([0x67], "up", "short", "application-response"),
    ([0x68], "up", "long", "application-response"),
    ([0x69], "up", "none", "format"),
    ([0x6A], "up", "short", "format"),
    ([0x6B], "up", "long", "format"),
    ([0x6C, 0x6D], "down", "long", "clock"),
    ([0x6E], "up", "short", "application-error"),
    ([0x6F], "up", "long", "application-error"),
    ([0x70], "up", "none", "application-error"),
    ([0x71], "up", "none", "alarm"),
    ([0x72], "up", "long", "m-bus"),
    ([0x73], "up", "long", "compact"),
    ([0x74], "up", "short", "alarm"),
    ([0x75], "up", "long", "alarm"),
    ([0x76, 0x77], "up", "long", "big-endian"),
    ([0x78], "up", "none", "m-bus"),
    ([0x79], "up", "none", "compact"),
    ([0x7A], "up", "short", "m-bus"),
    ([0x7B], "up", "short", "compact"),
    ([0x7C], "up", "long", "dlms"),
    ([0x7D], "up", "short", "dlms"),
    ([0x7E], "up", "long", "sml"),
    ([0x7F], "up", "short", "sml"),
    ([0x80], "down", "long", "none"),
    ([0x81], "both", "none", "nwl"),
    ([0x82], "down", "long", "network-management"),
    ([0x83], "down", "none", "network-management"),
    ([0x84, 0x85], "down", "long", "none"),
    ([0x86], "both", "none", "ell"),
    ([0x87], "up", "long", "network-management"),
    ([0x88], "up", "short", "network-management"),
    ([0x89], "up", "none", "network-management"),
    ([0x8A], "up", "short", "none"),
    ([0x8B], "up", "long", "none"),
    ([0x8C, 0x8D, 0x8E, 0x8F], "both", "none", "ell"),
    ([0x90], "both", "none", "afl"),
    ([0x92], "down", "short", "network-management"),
    ([0x93], "down", "short", "none"),
    ([0x9E], "up", "short", "security-management"),
    ([0x9F], "up", "long", "security-management"),
    (range(0xA0, 0xB8), "both", "none", "manufacturer"),
    (range(0xB8, 0xC0), "down", "none", "baud-rate"),
    ([0xC0], "down", "long", "image"),
    ([0xC1], "up", "short", "image"),
    ([0xC2], "up", "long", "image"),
    ([0xC3], "down", "long", "sitp"),
    ([0xC4], "up", "short", "sitp"),
    ([0xC5], "up", "long", "sitp"),
    ([0xC6], "down", "short", "sitp"),
    ([0xC7], "down", "short", "image"),
    ([0xCF], "both", "none", "mbal"),
]


@pytest.mark.parametrize(("codes", "direction", "header", "protocol"), PRINTED)
def test_printed_codes(codes: list[int], direction: str, header: str, protocol: str) -> None:
    for code in codes:
        row = CONTROL_INFORMATION[code]
        assert row is not None
        assert (row.code, row.direction, row.header, row.protocol) == (code, direction, header, protocol)


def test_all_others_are_reserved() -> None:
    printed = {code for codes, *_ in PRINTED for code in codes}
    assert len(CONTROL_INFORMATION) == 256
    assert {code for code, row in enumerate(CONTROL_INFORMATION) if row is not None} == printed


def test_layers_and_followers() -> None:
    for code, row in enumerate(CONTROL_INFORMATION):
        if row is None:
            continue
        expected = {0x81: "nwl", 0x86: "ell", 0x8C: "ell", 0x8D: "ell", 0x8E: "ell", 0x8F: "ell", 0x90: "afl", 0xCF: "mbal"}
        layer = expected.get(code, "link" if 0xB8 <= code <= 0xBF else "tpl")
        assert row.layer == layer
        followers = {"ell": "nwl afl tpl", "nwl": "afl tpl", "afl": "tpl"}
        assert row.followers == followers.get(layer, "")


def test_where_oms_uses_a_code() -> None:
    def users(code: int) -> str:
        row = CONTROL_INFORMATION[code]
        assert row is not None
        return row.oms

    assert users(0x72) == "C W L"
    assert users(0x7A) == "C L"
    assert users(0x51) == "W"
    assert users(0x8C) == "C"
    assert users(0x8D) == ""
    assert users(0xC6) == "L"
