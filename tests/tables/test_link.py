"""C field, baud rates, radio modes."""

from __future__ import annotations

import pytest

from openmetering.tables import BAUD_RATES, C_FIELD, CONTROL_INFORMATION, RADIO_MODES, c_field

# codes, name, uplink, wired, wireless
PRINTED = [
    ([0x40], "SND-NKE", False, True, True),
    ([0x43], "SND-UD2", False, True, True),
    ([0x45], "SND-UD3", False, False, True),
    ([0x53, 0x73], "SND-UD", False, True, True),
    ([0x5A, 0x7A], "REQ-UD1", False, True, True),
    ([0x5B, 0x7B], "REQ-UD2", False, True, True),
    ([0x00], "ACK", False, False, True),
    ([0x06], "CNF-IR", False, False, True),
    ([0x44], "SND-NR", True, False, True),
    ([0x46], "SND-IR", True, False, True),
    ([0x47], "ACC-NR", True, False, True),
    ([0x48], "ACC-DMD", True, False, True),
    ([0x00, 0x10, 0x20, 0x30], "ACK", True, False, True),
    ([0x01, 0x11, 0x21, 0x31], "NACK", True, False, True),
    ([0x08, 0x18, 0x28, 0x38], "RSP-UD", True, True, True),
]


@pytest.mark.parametrize(("codes", "name", "uplink", "wired", "wireless"), PRINTED)
def test_printed_codes(codes: list[int], name: str, uplink: bool, wired: bool, wireless: bool) -> None:
    for code in codes:
        for medium, present in ((True, wired), (False, wireless)):
            row = c_field(code, uplink, wired=medium)
            assert (row is not None) == present
            if row is not None:
                assert (row.code, row.name, row.direction) == (code, name, "up" if uplink else "down")


def test_all_other_codes_are_unknown() -> None:
    printed = {(code, uplink) for codes, _, uplink, _, _ in PRINTED for code in codes}
    found = {(code, uplink) for code in range(256) for uplink in (False, True) if c_field(code, uplink) is not None}
    assert found == printed


def test_prm_is_bit_6() -> None:
    assert all(row.prm == bool(row.code & 0x40) for row in C_FIELD)


def test_answers() -> None:
    wired, wireless = c_field(0x40, False, wired=True), c_field(0x40, False)
    assert wired is not None
    assert wireless is not None
    assert (wired.answer, wireless.answer) == ("ACK", "")
    request = c_field(0x5B, False)
    assert request is not None
    assert request.answer == "RSP-UD"


def test_baud_rates() -> None:
    rates = [300, 600, 1200, 2400, 4800, 9600, 19200, 38400]
    assert [BAUD_RATES[code] for code in range(0xB8, 0xC0)] == rates
    assert len(BAUD_RATES) == 8
    for code, baud in BAUD_RATES.items():
        row = CONTROL_INFORMATION[code]
        assert row is not None
        assert row.name == f"set baud rate {baud}"


# mode, direction, MHz, chips/s, bit/s, coding, sync word of frame format A
MODES = [
    ("S2", "both", 868.3, 32768, 16384, "Manchester", "547696"),
    ("T1", "up", 868.95, 100000, 66667, "3-out-of-6", "543D"),
    ("T2", "down", 868.3, 32768, 16384, "Manchester", "547696"),
    ("C1", "up", 868.95, 100000, 100000, "NRZ", "543D54CD"),
    ("C2", "down", 869.525, 50000, 50000, "NRZ", "543D54CD"),
    ("R2", "both", 868.33, 4800, 2400, "Manchester", "547696"),
    ("N1c", "up", 169.43125, 2400, 2400, "NRZ", "F68D"),
    ("N2g", "both", 169.4375, 9600, 19200, "NRZ", "FF7DD5F7"),
]


@pytest.mark.parametrize("printed", MODES, ids=lambda row: f"{row[0]} {row[1]}")
def test_radio_modes(printed: tuple[object, ...]) -> None:
    (row,) = [row for row in RADIO_MODES if (row.mode, row.direction) == printed[:2]]
    assert (row.frequency_mhz, row.chip_rate, row.data_rate, row.coding, row.sync_a) == printed[2:]


def test_coding_fixes_the_ratio_of_chips_and_bits() -> None:
    ratio = {"Manchester": 0.5, "3-out-of-6": 2 / 3, "NRZ": 1.0}
    for row in RADIO_MODES:
        per_chip = 2 if row.modulation == "4-GFSK" else 1
        assert row.data_rate == pytest.approx(row.chip_rate * ratio[row.coding] * per_chip, rel=1e-5)


def test_frame_format_b_has_its_own_sync() -> None:
    for row in RADIO_MODES:
        assert "A" in row.frame_formats
        assert "B" in row.frame_formats or not row.sync_b
