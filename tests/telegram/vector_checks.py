"""Statements of the shared vectors, compared with telegrams."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import msgspec

from openmetering import Address, KeyRing, Record, Telegram
from openmetering.codec.apl.profile import ProfileSeries
from openmetering.codec.apl.security_transfer import (
    SecuredData,
    SecurityTransfer,
    StatusResponse,
)
from openmetering.codec.link.wired import WiredFrame
from openmetering.codec.link.wireless import WirelessFrame
from openmetering.security import (
    BlockCipher,
    afl_mac,
    asp10_mac,
    derive,
    mode5_iv,
    mode10_nonce,
    session_keys,
)
from openmetering.telegram.encoder import encode_message
from openmetering.wire import crc16_octets
from openmetering.wire.types import MeterTime
from tests.telegram.building import general
from tests.telegram.shared_vectors import (
    DEVIATIONS,
    Vector,
)

FUNCTIONS = {"inst": "instantaneous", "max": "maximum", "min": "minimum", "err": "error"}


def same(text: str | None, stated: object) -> bool:
    """Equal texts, or equal numbers."""
    if text == stated:
        return True
    try:
        return text is not None and Decimal(text) == Decimal(str(stated))
    except ArithmeticError:
        return False


def text_of(record: Record) -> str | None:
    value = record.value
    if isinstance(value, MeterTime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex().upper()
    return record.number_text() if isinstance(value, Decimal) else value


def whole_raw(record: Record) -> str:
    """Data octets with the LVAR octet in front, as some entries print them."""
    return ("" if record.lvar is None else f"{record.lvar:02X}") + record.raw.hex().upper()


def check_address(address: Address | None, stated: Vector) -> None:
    assert address is not None
    assert address.flag == stated["manufacturer"]
    if "manufacturer_hex" in stated:
        assert address.link_octets()[:2].hex().upper() == stated["manufacturer_hex"]
    assert (address.identification, address.version) == (stated["ident"], stated["version"])
    assert f"{address.device_type:02X}" == stated["device_type"]


def check_link(telegram: Telegram, stated: Vector) -> None:
    link = telegram.link
    assert link is not None
    if "message" in stated and isinstance(stated["message"], str):
        assert link.message == stated["message"]
    if "c_field" in stated:
        assert f"{link.control:02X}" == stated["c_field"]
    if "lla" in stated:
        assert isinstance(link, WirelessFrame)
        check_address(link.address, stated["lla"])
    if "primary_address" in stated:
        assert isinstance(link, WiredFrame)
        assert link.address == stated["primary_address"]


def check_ell(telegram: Telegram, stated: Vector) -> None:
    ell = telegram.ell
    assert ell is not None
    assert (f"{ell.ci:02X}", f"{ell.communication_control:02X}", f"{ell.access_number:02X}") == (
        stated["ci"],
        stated["cc"],
        stated["acc"],
    )
    if "ella" in stated:
        check_address(ell.destination, stated["ella"])
    number = stated.get("sn")
    if number is not None:
        assert ell.session_number is not None
        assert int(ell.session_number).to_bytes(4, "little").hex() == number["raw"].lower()
        assert (ell.session_number.session, ell.session_number.minutes, ell.session_number.encryption) == (
            number["session"],
            number["time"],
            number["enc"],
        )
    opened = stated.get("decrypted_payload")
    if opened is not None:
        assert telegram.transport is not None
        assert (telegram.transport.encode() + (telegram.payload or b"")).hex().upper() == opened
        assert (telegram.security.state, telegram.security.proof, telegram.security.profile) == ("decrypted", "ell-crc", "ELL")
        assert crc16_octets(bytes.fromhex(opened))[::-1].hex().upper() == stated["payload_crc"]  # sent low octet first


def check_afl(telegram: Telegram, stated: Vector, key: bytes) -> None:
    afl = telegram.afl
    assert afl is not None
    assert f"{afl.fragmentation:04X}" == stated["fcl"]
    assert (afl.fragmentation.fragment_id, afl.fragmentation.more_fragments) == (stated["fid"], stated["mf"])
    if "mcl" in stated:
        assert f"{afl.message_control:02X}" == stated["mcl"]
    assert afl.counter == stated.get("mcr")
    assert afl.message_length == stated.get("ml")
    if "mac" in stated:
        assert afl.mac is not None
        assert afl.mac.hex().upper() == stated["mac"]
    if "mac_full" in stated:
        assert telegram.security.proof == "mac"
        check_mac(telegram, stated, key)


def check_mac(telegram: Telegram, stated: Vector, key: bytes) -> None:
    """The session key and all sixteen octets of the MAC."""
    afl, address = telegram.afl, telegram.address
    assert afl is not None
    assert address is not None
    assert afl.counter is not None
    downlink = not telegram.uplink
    keys = session_keys(BlockCipher(key), afl.counter, address.link_octets()[2:6], downlink=downlink)
    constant = 0x11 if downlink else 0x01
    assert derive(BlockCipher(key), constant, afl.counter, address.link_octets()[2:6]).hex().upper() == stated["kmac"]
    message, _ = encode_message(telegram, KeyRing.single(key))
    full = afl_mac(keys.authentication, 0x20 | 7, message, counter=afl.counter)
    assert len(full) == 16
    computed = keys.authentication.cmac(bytes((int(afl.message_control or 0),)) + afl.counter.to_bytes(4, "little") + message)
    assert computed.hex().upper() == stated["mac_full"]


def check_transport(telegram: Telegram, stated: Vector, key: bytes | None) -> None:
    transport = telegram.transport
    assert transport is not None
    assert f"{transport.ci:02X}" == stated["ci"]
    if "acc" in stated:
        assert f"{transport.access_number:02X}" == stated["acc"]
        assert f"{transport.status:02X}" == stated["status"]
        assert f"{transport.configuration:04X}" == stated["cf"]
        assert transport.mode == stated["mode"] == telegram.security.mode
    if "cfe" in stated:
        assert transport.extension.hex().upper().startswith(stated["cfe"])
    if "ala" in stated:
        check_address(telegram.address, stated["ala"])
        check_address(transport.address, stated["ala"])
    if "iv" in stated:
        assert telegram.address is not None
        assert mode5_iv(telegram.address.link_octets(), transport.access_number or 0).hex().upper() == stated["iv"]
    if "kenc" in stated:
        assert key is not None
        assert telegram.address is not None
        counter = telegram.security.counter
        assert counter is not None
        constant = 0x00 if telegram.uplink else 0x10
        assert derive(BlockCipher(key), constant, counter, telegram.address.link_octets()[2:6]).hex().upper() == stated["kenc"]
    if "nonce" in stated:
        assert telegram.address is not None
        assert mode10_nonce(telegram.address.link_octets(), telegram.security.counter or 0).hex().upper() == stated["nonce"]
    if "tag_ok" in stated:
        assert telegram.security.proof == "tag"
    if "plaintext" in stated:
        opened = telegram.payload or b""
        padding = bytes.fromhex(stated.get("tpl_padding", ""))
        assert (opened + padding).hex().upper() in (stated["plaintext"], unpadded(stated["plaintext"], transport))


def unpadded(text: str, transport: Any) -> str:
    """The plaintext without the TPL padding that the P bit announces."""
    octets = bytes.fromhex(text)
    return octets[: -octets[-1]].hex().upper() if octets and getattr(transport.configuration, "padding", 0) else text


def first_of(telegrams: Sequence[Telegram]) -> Telegram:
    """The reassembled telegram with the access number of its first frame."""
    return msgspec.structs.replace(telegrams[-1], ell=telegrams[0].ell)


def sizes_of(frames: Sequence[bytes]) -> list[int]:
    """Message octets of each fragment."""
    sizes = []
    for octets in frames:
        telegram = general(octets)
        link, afl = telegram.link, telegram.afl
        assert link is not None
        assert afl is not None
        head = len(afl.encode()) + (0 if telegram.ell is None else len(telegram.ell.encode()))
        sizes.append(len(link.data) - head)
    return sizes


def check_asp10_mac(content: SecuredData, key: str) -> None:
    """The MAC of an end-to-end command under the application key."""
    cipher = BlockCipher(bytes.fromhex(key))
    assert asp10_mac(cipher, content.counter, content.target_time, content.pid, content.apdu) == content.mac


def check_sitp(telegram: Telegram, stated: Vector) -> None:
    """The SITP block inside a telegram: header, content, MAC under the application key."""
    transfer = telegram.application
    assert isinstance(transfer, SecurityTransfer)
    assert len(transfer.blocks) == 1
    block = transfer.blocks[0]
    assert len(block.encode()) - 2 == stated["bl"]
    assert block.block_id == int(str(stated["bid"]), 16)
    assert (f"{block.control:02X}", f"{block.recipient:02X}") == (stated["bcf"], stated["recipient"])
    assert f"{block.structure:02X}" == stated["dsi"]
    header = stated.get("dsh") or (
        stated.get("dsh1", stated.get("dsh1_wrapper_key_id", "")) + stated.get("dsh2", stated.get("dsh2_wrapper_key_version", ""))
    )
    assert block.header.hex().upper() == header
    content = block.read()
    if "status" in stated:
        assert content == StatusResponse(int(stated["status"], 16))
        return
    assert isinstance(content, SecuredData)
    assert (content.counter, f"{content.pid:02X}") == (stated["key_counter"], stated["pid"])
    assert content.target_time.hex().upper() in (stated["target_time"], bytes.fromhex(stated["target_time"])[::-1].hex().upper())
    assert content.immediate
    assert (content.apdu.hex().upper(), content.mac.hex().upper()) == (stated["apdu"], stated["mac"])
    if "mac_input" in stated:
        assert content.mac_input().hex().upper() == stated["mac_input"]
        check_asp10_mac(content, stated["asp_key"])
        assert BlockCipher(bytes.fromhex(stated["asp_key"])).cmac(content.mac_input()).hex().upper() == stated["mac_full"]
    assert [record.octets() for record in telegram.records] == [content.apdu]


def check_records(vector: Vector, telegram: Telegram, stated: Sequence[Vector]) -> None:
    plain = [item for item in stated if "special" not in item]
    records = telegram.records
    assert len(records) == len(plain)
    for record, item in zip(records, plain, strict=True):
        check_record(vector, record, item)
    for item in stated:
        if item.get("special") in ("0F", "1F"):
            assert telegram.manufacturer_data is not None
            assert telegram.manufacturer_data.hex().upper() == item["raw"]
            assert telegram.more_follows == (item["special"] == "1F")


def check_record(vector: Vector, record: Record, item: Vector) -> None:
    header = record.header
    assert (header.dib + header.vib).hex().upper() == item["dib"] + item["vib"]
    assert (record.function, record.storage, record.tariff, record.subunit) == (
        FUNCTIONS[item["function"]],
        item["storage"],
        item["tariff"],
        item["subunit"],
    )
    assert item["raw"] in (record.raw.hex().upper(), whole_raw(record))
    value, deviates = item["value"], DEVIATIONS.get((vector["name"], item["dib"] + item["vib"]))
    if deviates is not None:
        assert text_of(record) == deviates[0]
        return
    assert record.unit == item["unit"]
    quantity = item["quantity"].removesuffix(" (compact profile block)")
    assert record.quantity == ("unknown" if "reserved" in quantity else quantity)
    if header.kind == "address":
        identification, manufacturer, version, kind = value.split()
        assert record.value == f"{manufacturer}-{identification}-{int(version):02X}-{kind}"
    elif isinstance(value, dict) and "relative_seconds" in value:
        assert isinstance(record.value, MeterTime)
        assert (record.value.type, record.value.relative) == ("M", value["relative_seconds"])
    elif isinstance(value, dict):
        assert isinstance(record.value, MeterTime)
        assert record.value.isoformat() == value["t"]
        assert (record.value.summer_time, record.value.leap_year) == (bool(value["dst"]), bool(value["leap"]))
    else:
        assert same(text_of(record), value), (text_of(record), value)


def check_profiles(telegram: Telegram, stated: Sequence[Vector]) -> None:
    series = telegram.profiles
    assert len(series) == len(stated)
    for found, item in zip(series, stated, strict=True):
        check_profile(found, item)


def check_profile(found: ProfileSeries, item: Vector) -> None:
    assert (found.header.dib + found.header.vib).hex().upper() == item["dib"] + item["vib"]
    assert found.kind == item["kind"].replace("with-", "")
    spacing = found.spacing
    assert spacing is not None
    assert f"{spacing.encode()[0]:02X}" == item["spacing_control"]
    assert (spacing.mode, spacing.element, spacing.value) == (
        item["increment_mode"],
        item["element_data_field"],
        item["spacing_value"],
    )
    assert (found.base_value, found.unit) == (Decimal(item["base_value"]), item["unit"])
    if item["base_time"] is None:
        assert all(point.time is None for point in found.points)
    else:
        assert found.base_time is not None
        assert found.base_time.isoformat() == item["base_time"]
    points = [(point.storage, point.time, point.value) for point in found.points]
    assert points == [(entry["storage"], entry["time"], Decimal(entry["value"])) for entry in item["series"]]
    assert len(item["elements_raw_to_value"]) == len(points)
