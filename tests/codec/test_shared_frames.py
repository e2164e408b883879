"""The published frames taken apart layer by layer and put together again, up to the encrypted payload."""

from __future__ import annotations

import pytest

from openmetering.codec import afl, ell, tpl
from openmetering.codec.address import Address
from openmetering.codec.link import wired, wireless
from openmetering.tables import CONTROL_INFORMATION
from openmetering.wire import crc16
from tests.vector_files import octets, shared


def framed(row):
    return row["frame_format"] in ("A", "A-nocrc", "B", "FT1.2") and row["expected"].get("first_crc_after_byte") is None


def same_address(address, expected):
    assert address.link_octets()[:2] == octets(expected["manufacturer_hex"])
    assert (address.flag, address.identification) == (expected["manufacturer"], expected["ident"])
    assert (address.version, address.device_type) == (expected["version"], int(expected["device_type"], 16))


def check_ell(layer, expected, rest):
    assert f"{layer.ci:02X}" == expected["ci"]
    assert f"{int(layer.communication_control):02X}" == expected["cc"]
    assert f"{layer.access_number:02X}" == expected["acc"]
    if "ella" in expected:
        same_address(layer.destination, expected["ella"])
    else:
        assert layer.destination is None
    if "sn" in expected:
        number = layer.session_number
        assert int(number) == int.from_bytes(octets(expected["sn"]["raw"]), "little")
        assert (number.session, number.minutes, number.encryption) == (
            expected["sn"]["session"],
            expected["sn"]["time"],
            expected["sn"]["enc"],
        )
        assert len(rest) == len(octets(expected["decrypted_payload"]))
        crc = crc16(octets(expected["decrypted_payload"]))  # sent least significant octet first
        assert crc.to_bytes(2, "little") == octets(expected["payload_crc"])


def check_afl(layer, expected):
    fragmentation = layer.fragmentation
    assert f"{int(fragmentation):04X}" == expected["fcl"]
    assert (fragmentation.fragment_id, fragmentation.more_fragments) == (expected["fid"], expected["mf"])
    assert layer.message_control == (int(expected["mcl"], 16) if "mcl" in expected else None)
    assert (layer.counter, layer.message_length) == (expected.get("mcr"), expected.get("ml"))
    assert layer.mac == (octets(expected["mac"]) if "mac" in expected else None)


def check_tpl(header, expected):
    assert f"{header.ci:02X}" == expected["ci"]
    if header.header == "none":
        return
    assert f"{header.access_number:02X}" == expected["acc"]
    assert f"{header.status:02X}" == expected["status"]
    assert f"{int(header.configuration):04X}" == expected["cf"]
    assert header.mode == expected["mode"]
    assert header.extension.startswith(octets(expected.get("cfe", "")))
    if "ala" in expected:
        same_address(header.address, expected["ala"])


@pytest.mark.parametrize("vector", shared("security.json", framed))
def test_layers_of_published_frames(vector):
    expected = vector["expected"]
    frame = octets(vector["hex"])
    link, rest = (wired if vector["frame_format"] == "FT1.2" else wireless).unframe(frame)
    assert rest == b""
    data, at, parts = link.data, 0, []
    if "ell" in expected:
        extended, at = ell.decode(data, 1, data[0])
        check_ell(extended, expected["ell"], data[at:])
        parts.append(extended.encode())
    if "afl" in expected:
        assert data[at] == afl.CI
        fragment, end = afl.decode(data, at + 1)
        check_afl(fragment, expected["afl"])
        parts.append(fragment.encode())
        at = end
    if "message_part" in expected:
        assert data[at:] == octets(expected["message_part"])
        assert fragment.fragmented
    elif "tpl" in expected:
        entry = CONTROL_INFORMATION[data[at]]
        header, end = tpl.decode(data, at + 1, data[at], entry.header)
        check_tpl(header, expected["tpl"])
        parts.append(header.encode())
        at = end
    assert b"".join(parts) + data[at:] == data
    if vector["frame_format"] != "FT1.2":
        assert link.octets() == frame
        assert Address.from_link(frame, 2) == link.address
    else:
        assert link.encode() == frame
