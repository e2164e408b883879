"""Every entry of security.json: frames of every layer, fragments, keys and MACs, both directions."""

from __future__ import annotations

import msgspec
import pytest

from openmetering import Address, Decoder, KeyRing, Telegram, encode, encode_fragments, examine
from openmetering.codec.address import Selection
from openmetering.codec.apl import security_transfer
from openmetering.codec.apl.security_transfer import (
    CombinedActivation,
    KeyTransfer,
    StatusResponse,
)
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame, unframe
from openmetering.codec.tpl import rssi_dbm, rssi_status
from openmetering.errors import BadChecksum
from openmetering.security import (
    BlockCipher,
    asp01_unwrap,
    asp01_wrap,
    asp10_mac,
    clear_unwrap,
    derive,
    mode5_iv,
    mode10_nonce,
    renewed_master_key,
    session_keys,
)
from openmetering.telegram.encoder import encode_message
from openmetering.wire import crc16_octets
from tests.telegram.shared_vectors import (
    ABSENT,
    APDUS,
    DEVIATIONS,
    EXPECTED_FAULTS,
    FILES,
    FOLDER,
    OUT_OF_SCOPE,
    TELEGRAMS,
    Vector,
    in_scope,
    key_of,
    layer,
    of_kind,
    read,
    vectors,
)
from tests.telegram.vector_checks import (
    check_address,
    check_afl,
    check_ell,
    check_link,
    check_sitp,
    check_transport,
    first_of,
    sizes_of,
    text_of,
)

pytestmark = pytest.mark.corpus


FRAMES = ("A", "B", "A-nocrc", "FT1.2")


HANDLED = {
    "security.json": {*FRAMES, "message", "crc", "address", "status", "kdf", "sitp-mac", "sitp"},
    "application.json": {
        *TELEGRAMS, *APDUS, "reassembled-message", "frame-set", "apdu-quirk", "clock-sync-apdu", "image-transfer-apdu",
    },
    "annex_n_extra.json": {"annex"},
}  # fmt: skip


#: the order of the extra entries: what their statement is about, told by a field of it
EXTRA = ("data_points", "points", "derivation_constants", "sitp", "seconds", "demand", "command", "snd_ir", "error", "c")


def test_every_entry_is_tested_or_out_of_scope() -> None:
    if not FOLDER.is_dir():
        pytest.skip(ABSENT)
    entries = [(name, vector) for name in FILES for vector in read(name)]
    assert len(entries) == 288
    for name, vector in entries:
        if in_scope(vector):
            assert layer(vector) in HANDLED[name], vector["name"]
            assert name != FILES[2] or set(vector["expected"]) & set(EXTRA), vector["name"]
    unused = [start for start in OUT_OF_SCOPE if not any(vector["name"].startswith(start) for _, vector in entries)]
    assert not unused
    names = {vector["name"] for _, vector in entries}
    assert {name for name, _ in DEVIATIONS} | set(EXPECTED_FAULTS) <= names


@pytest.mark.parametrize("vector", vectors("security.json", of_kind(*FRAMES)))
def test_frame(vector: Vector) -> None:
    key, stated = key_of(vector), vector["expected"]
    octets = bytes.fromhex(vector["hex"])
    telegram = examine(octets, key)
    check_fault(vector, telegram)
    check_link(telegram, stated)
    if "ell" in stated:
        check_ell(telegram, stated["ell"])
    if "afl" in stated:
        check_afl(telegram, stated["afl"], key or b"")
    if "tpl" in stated:
        check_transport(telegram, stated["tpl"] | {"tpl_padding": stated.get("tpl_padding", "")}, key)
    if "fragment" in stated:
        assert telegram.transport is None
        assert isinstance(telegram.link, WirelessFrame | WiredFrame)
        assert telegram.link.data.hex().upper().endswith(stated["message_part"])
    if "sitp" in stated:
        check_sitp(telegram, stated["sitp"])
    if "lenc" in stated:  # profile D downlink, a proposal
        check_transport(telegram, {"ci": "5B", "plaintext": stated["plaintext"], "kenc": stated["lenc"], "tag_ok": True}, key)
        check_transport(telegram, {"ci": "5B", "nonce": stated["nonce"]}, key)
        assert vector["hex"].endswith(stated["tag"])
    check_small_statements(telegram, stated)
    assert encode(telegram, key) == octets


def check_small_statements(telegram: Telegram, stated: Vector) -> None:
    """Statements of single wired entries."""
    application = telegram.application
    if "fabrication_number" in stated:
        assert [text_of(record) for record in telegram.records] == [stated["fabrication_number"].lstrip("0")]
    if "ident_pattern" in stated:
        assert isinstance(application, Selection)
        assert application.pattern.identification == stated["ident_pattern"]
    if "fabrication_pattern" in stated:
        assert isinstance(application, Selection)
        assert (application.pattern.identification, application.fabrication) == (stated["ident"], stated["fabrication_pattern"])
    if "ci" in stated:
        assert telegram.transport is not None
        assert f"{telegram.transport.ci:02X}" == stated["ci"]


def check_fault(vector: Vector, telegram: Telegram) -> None:
    """No fault but those that the table names, and those of a fragment that stands alone."""
    expected = EXPECTED_FAULTS.get(vector["name"], (None, ""))[0]
    stated = vector["expected"]
    if "fragment" in stated and stated["afl"]["fid"] > 1:
        expected = "afl.fragment_missing"
    tpl = stated.get("tpl")
    if isinstance(tpl, dict) and tpl.get("ci") in ("6E", "70"):
        expected = "application.error"
    assert (telegram.error and telegram.error.code) == expected


@pytest.mark.parametrize("vector", vectors("security.json", lambda vector: "hex_with_crc" in vector))
def test_frame_with_crc(vector: Vector) -> None:
    """The same telegram with the CRCs of its frame format, down to the last octet."""
    key = key_of(vector)
    plain, with_crc = bytes.fromhex(vector["hex"]), bytes.fromhex(vector["hex_with_crc"])
    telegram = examine(with_crc, key)
    check_fault(vector, telegram)
    link = telegram.link
    assert isinstance(link, WirelessFrame)
    assert (link.frame_format, link.crc) == ("B" if vector["frame_format"] == "B" else "A", True)
    assert link.octets()[1:] == plain[1:]
    if "l_field" in vector["expected"]:
        assert f"{with_crc[0]:02X}" == vector["expected"]["l_field"]
    if "second_crc" in vector["expected"]:
        assert with_crc[-2:].hex().upper() == vector["expected"]["second_crc"]
    assert encode(telegram, key) == with_crc
    without = examine(plain, key)
    assert (without.payload, without.records, without.security) == (telegram.payload, telegram.records, telegram.security)


@pytest.mark.parametrize("vector", vectors("security.json", lambda vector: "hex_with_crc" in vector))
@pytest.mark.parametrize("frame_format", ["A", "B"])
def test_reframed(vector: Vector, frame_format: str) -> None:
    """Every wireless frame in both frame formats: L and CRCs change, the message does not."""
    telegram = examine(bytes.fromhex(vector["hex"]))
    link = telegram.link
    assert isinstance(link, WirelessFrame)
    framed = msgspec.structs.replace(link, frame_format=frame_format, crc=True)
    octets = framed.encode()
    again = examine(octets).link
    assert again == framed
    damaged = bytearray(octets)
    damaged[-3] ^= 1
    with pytest.raises(BadChecksum):
        unframe(bytes(damaged), frame_format)


@pytest.mark.parametrize("vector", vectors("security.json", of_kind("message")))
def test_fragments(vector: Vector) -> None:
    """Fragments come together in a decoder; the message splits into the same frames again."""
    key, stated = bytes.fromhex(vector["key"]), vector["expected"]
    frames = [bytes.fromhex(text) for text in vector["fragments"]]
    decoder = Decoder(key)
    telegrams = [decoder.decode(frame) for frame in frames]
    assert [telegram.fragment for telegram in telegrams] == [True, True, False]
    telegram = telegrams[-1]
    assert (telegram.payload or b"").hex().upper() == stated["plaintext"]
    assert telegram.security.mode == stated["mode"]
    message, afl = encode_message(telegram, KeyRing.single(key))
    assert message.hex().upper() == stated["message"]
    assert afl is not None
    assert afl.message_length == len(message) == stated["message_length"]
    assert f"{afl.message_control:02X}" == stated["mcl"]
    address = telegram.address
    assert address is not None
    if "mac" in stated:
        assert afl.mac is not None
        assert afl.mac.hex().upper() == stated["mac"]
        assert telegram.security.proof == "mac"
        keys = session_keys(BlockCipher(key), afl.counter or 0, address.link_octets()[2:6])
        assert keys.authentication.cmac(bytes.fromhex(stated["mac_input_prefix"]) + message).hex().upper() == stated["mac_full"]
    if "kenc" in stated:
        counter = telegram.security.counter
        assert derive(BlockCipher(key), 0, counter or 0, address.link_octets()[2:6]).hex().upper() == stated["kenc"]
    if "iv" in stated:
        assert telegram.transport is not None
        assert mode5_iv(address.link_octets(), telegram.transport.access_number or 0).hex().upper() == stated["iv"]
    if "nonce" in stated:
        assert mode10_nonce(address.link_octets(), telegram.security.counter or 0).hex().upper() == stated["nonce"]
        assert telegram.security.proof == "tag"
    assert encode_fragments(first_of(telegrams), key, sizes_of(frames)) == frames


@pytest.mark.parametrize("vector", vectors("security.json", of_kind("crc")))
def test_crc(vector: Vector) -> None:
    assert crc16_octets(bytes.fromhex(vector["hex"])).hex().upper() == vector["expected"]["crc"]


@pytest.mark.parametrize("vector", vectors("security.json", of_kind("address")))
def test_address(vector: Vector) -> None:
    stated, octets = vector["expected"], bytes.fromhex(vector["hex"])
    if "flag" in stated:
        address = Address.from_link(octets + bytes(6))
        assert (address.flag, f"{address.manufacturer:04X}") == (stated["flag"], stated["value"])
        assert address.link_octets()[:2] == octets
        return
    address = Address.from_transport(octets)
    check_address(address, stated)
    assert address.din == stated["din"]
    assert address.transport_octets().hex().upper() == stated["ala_on_wire"]
    assert address.link_octets().hex().upper() == stated["lower_layer_on_wire"]
    assert Address.from_din(stated["din"]) == address


@pytest.mark.parametrize("vector", vectors("security.json", of_kind("status")))
def test_status(vector: Vector) -> None:
    level = vector["expected"]["rssi_dbm"]
    assert rssi_dbm(int(vector["hex"], 16)) == level
    assert f"{rssi_status(level):02X}" == vector["hex"]


@pytest.mark.parametrize("vector", vectors("security.json", of_kind("kdf", "sitp-mac")))
def test_derived_keys_and_macs(vector: Vector) -> None:
    stated, octets = vector["expected"], bytes.fromhex(vector["hex"])
    cipher = BlockCipher(bytes.fromhex(vector["key"]))
    if "derived_key" in stated:
        constant, counter, number = octets[0], int.from_bytes(octets[1:5], "little"), octets[5:9]
        assert derive(cipher, constant, counter, number).hex().upper() == stated["derived_key"]
    elif "new_master_key" in stated:
        assert renewed_master_key(cipher, octets).hex().upper() == stated["new_master_key"]
    else:
        counter, time, pid, apdu = int.from_bytes(octets[:4], "little"), octets[4:9], octets[9], octets[10:]
        assert asp10_mac(cipher, counter, time, pid, apdu).hex().upper() == stated["mac"]
        assert cipher.cmac(octets).hex().upper() == stated["mac_full"]


@pytest.mark.parametrize("vector", vectors("security.json", of_kind("sitp")))
def test_sitp_block(vector: Vector) -> None:
    stated = vector["expected"]
    transfer = security_transfer.decode(bytes.fromhex(vector["hex"]))
    assert transfer.encode().hex().upper() == vector["hex"]
    block = transfer.blocks[0]
    assert len(block.encode()) - 2 == stated["bl"]
    if "bcf" in stated:
        assert (f"{block.control:02X}", f"{block.structure:02X}") == (stated["bcf"], stated["dsi"])
    if "status" in stated:
        assert block.read() == StatusResponse(int(stated["status"], 16))
        assert (f"{block.key_id:02X}", f"{block.key_version:02X}") == (stated["dsh1"], stated["dsh2"])
        return
    if "icv" in stated:
        assert block.content[:4].hex().upper() == stated["icv"]
        assert int.from_bytes(block.content[4:8], "big") == stated["mli"]
        plain = clear_unwrap(block.content)
    else:
        cipher = BlockCipher(bytes.fromhex(vector["key"]))
        plain = asp01_unwrap(cipher, block.content)
        assert plain.hex().upper() == stated["plain_structure"]
        assert asp01_wrap(cipher, plain).hex().upper() == stated["wrapped"]
    kind = CombinedActivation if block.structure == 3 else KeyTransfer
    structure = kind.decode(plain)
    assert structure.encode() == plain
    assert structure.target_time[::-1].hex().upper() == stated["target_time"]
    if isinstance(structure, KeyTransfer):
        assert structure.key.hex().upper() == stated.get("new_key", stated.get("key"))
        assert (f"{structure.key_id:02X}", f"{structure.key_version:02X}") == (stated["key_id"], stated["key_version"])
    else:
        assert isinstance(structure, CombinedActivation)
        assert f"{structure.activated_key_id:02X}" == stated["activated_key_id"]
        assert f"{structure.activated_version:02X}" == stated["activated_key_version"]
        assert f"{structure.deactivated_key_id:02X}" == stated["deactivated_key_id"]
        assert f"{structure.deactivated_version:02X}" == stated["deactivated_key_version"]
        assert f"{structure.option:02X}" == stated["option"]
