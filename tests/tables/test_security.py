"""Security modes, keys, SITP, MAC lengths."""

from __future__ import annotations

import pytest

from openmetering.tables import (
    AFL_ALGORITHM_NAMES,
    AFL_ALGORITHMS,
    CONTROL_INFORMATION,
    KEY_IDS,
    SECURITY_MODES,
    SITP_BCF,
    SITP_DSI,
    SITP_PID,
    SITP_STATUS,
    sitp_status,
)


def test_every_mode_has_an_entry() -> None:
    assert [row.mode for row in SECURITY_MODES] == list(range(32))
    assert {row.mode for row in SECURITY_MODES if row.handling == "reserved"} == {6, 11, 12, 14, *range(16, 32)}
    assert {row.mode for row in SECURITY_MODES if row.handling == "recognise"} == {1, 3, 8, 13, 15}


@pytest.mark.parametrize(
    ("mode", "encryption", "profile"),
    [
        (0, "none", ""),
        (5, "AES-128-CBC", "A"),
        (7, "AES-128-CBC", "B"),
        (9, "AES-128-GCM", ""),
        (10, "AES-128-CCM", "D"),
        (13, "TLS", "C"),
    ],
)
def test_modes_and_profiles(mode: int, encryption: str, profile: str) -> None:
    assert (SECURITY_MODES[mode].encryption, SECURITY_MODES[mode].profile) == (encryption, profile)


def test_every_key_identifier_has_an_entry() -> None:
    assert [row.code for row in KEY_IDS] == list(range(256))
    assert all(row.name for row in KEY_IDS)


@pytest.mark.parametrize(
    ("code", "group", "wrapper"),
    [
        (0x00, "communication", 0x12),
        (0x08, "communication", 0x12),
        (0x0F, "communication", 0x12),
        (0x10, "wrapper", None),
        (0x12, "wrapper", 0x10),
        (0x14, "wrapper", 0x10),
        (0x18, "application", 0x14),
        (0x20, "application", 0x14),
        (0x27, "application", 0x14),
        (0x2F, "application", 0x14),
        (0x30, "manufacturer", None),
        (0x81, "asymmetric", None),
        (0xFF, "reserved", None),
    ],
)
def test_key_groups_and_wrappers(code: int, group: str, wrapper: int | None) -> None:
    assert (KEY_IDS[code].group, KEY_IDS[code].wrapper) == (group, wrapper)


def test_a_wrapper_wraps_no_key_of_its_own() -> None:
    for row in KEY_IDS:
        if row.wrapper is not None:
            assert KEY_IDS[row.wrapper].group == "wrapper"
            assert row.wrapper != row.code


def test_unsettled_keys_say_so() -> None:
    assert {row.code for row in KEY_IDS if row.confidence == "?"} == {0x16, 0x17}


def test_block_control_fields() -> None:
    assert set(SITP_BCF) == {*range(0x0A), 0x20, *range(0x70, 0x80)}
    assert all(row.response == row.command + 0x80 for row in SITP_BCF.values())
    assert SITP_BCF[0x00].command_structures == (0x01, 0x10, 0x11)
    assert SITP_BCF[0x04].command_structures == (0x03,)
    assert SITP_BCF[0x09].response_structures == (0x23, 0x22)
    assert SITP_BCF[0x20].command_structures == tuple(range(0x30, 0x38))
    named = {code for row in SITP_BCF.values() for code in (*row.command_structures, *row.response_structures)}
    assert named <= set(SITP_DSI)


def test_structures() -> None:
    assert SITP_DSI[0x32].mac_length == 8
    assert SITP_DSI[0x33].mac_length == 16
    assert SITP_DSI[0x22].mac_length is None
    assert SITP_DSI[0x01].name == "wrapped key"
    assert SITP_DSI[0xF5].name == "manufacturer specific"


def test_protocol_identifiers_are_those_of_the_ci_field() -> None:
    assert SITP_PID == {0x01: "m-bus", 0x04: "clock", 0x06: "image"}
    assert set(SITP_PID.values()) <= {row.protocol for row in CONTROL_INFORMATION if row is not None}


@pytest.mark.parametrize(
    ("code", "status_class", "name"),
    [
        (0x00, "success", "success"),
        (0x01, "success", "accepted and scheduled"),
        (0x09, "refused", "block not executed, error in another block"),
        (0x0C, "information", "reserved, no error"),
        (0x11, "header error", "unknown or invalid command"),
        (0x19, "header error", "unknown or invalid KeyID or KeyVersion"),
        (0x1F, "header error", "not listed"),
        (0x21, "content error", "unknown or invalid KeyID or KeyVersion"),
        (0x23, "content error", "TargetTime error"),
        (0x2A, "content error", "not listed"),
        (0x81, "asymmetric error", "key pair and certificate do not match"),
        (0x05, "information", "not listed"),
        (0x55, "unknown", "not listed"),
    ],
)
def test_status(code: int, status_class: str, name: str) -> None:
    row = sitp_status(code)
    assert (row.code, row.status_class, row.name) == (code, status_class, name)


def test_listed_status_is_the_row_itself() -> None:
    assert all(sitp_status(code) is row for code, row in SITP_STATUS.items())


def test_mac_lengths_of_the_afl() -> None:
    assert AFL_ALGORITHMS == {0: 0, 3: 2, 4: 4, 5: 8, 6: 12, 7: 16, 8: 12, 9: 16}
    assert AFL_ALGORITHM_NAMES[0] == "none"
    assert {AFL_ALGORITHM_NAMES[code] for code in range(3, 8)} == {"AES-CMAC-128"}
    assert {AFL_ALGORITHM_NAMES[code] for code in (8, 9)} == {"AES-GMAC-128"}
