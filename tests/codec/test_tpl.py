"""Transport layer: headers of every kind and security mode in both directions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from openmetering.codec.address import Address
from openmetering.codec.tpl import (
    CONFIGURATIONS,
    Configuration,
    ConfigurationA,
    ConfigurationB,
    ConfigurationD,
    ConfigurationDutch,
    Extension,
    ExtensionContent,
    TransportHeader,
    decode,
    rssi_dbm,
    rssi_status,
)
from openmetering.errors import DecodeError, EncodeError, NotRepresentable, OutOfRange
from tests.strategies import extension_size, number, octet, transport_headers
from tests.vector_files import assert_ours, assert_prefixes_raise, octets, own, shared


def of_vector(vector):
    if vector["header"] == "none":
        return TransportHeader(octets(vector["hex"])[0])
    kind = CONFIGURATIONS[vector["mode"]]
    return TransportHeader(
        octets(vector["hex"])[0],
        vector["header"],
        Address.parse(vector["address"]) if "address" in vector else None,
        vector["access_number"],
        vector.get("status", 0),
        kind.build(mode=vector["mode"], **vector.get("configuration", {})),
        octets(vector.get("extension", "")),
    )


@pytest.mark.parametrize("vector", own("spec/layers.toml", "tpl"))
def test_both_directions(vector):
    data, header = octets(vector["hex"]), of_vector(vector)
    kind = vector["header"]
    assert decode(data, 1, data[0], kind) == (header, len(data))
    assert header.encode() == data
    found, end = decode(b"\xee" + data + b"\x2f\x2f", 2, data[0], kind)
    assert (found, end) == (header, 1 + len(data))
    assert type(found.configuration) is CONFIGURATIONS[vector["mode"]]
    assert (found.mode, found.key_id, found.key_version) == (vector["mode"], vector.get("key_id", 0), vector.get("key_version"))
    assert (found.counter, found.content) == (vector.get("counter"), vector.get("content", 0))
    assert found.content_index == vector.get("content_index", 0)
    assert_prefixes_raise(lambda part: decode(part, 0, data[0], kind), data[1:], "tpl")


@pytest.mark.parametrize("vector", own("malformed/layers.toml", "tpl"))
def test_malformed(vector):
    data = octets(vector["hex"])
    with pytest.raises(DecodeError) as caught:
        decode(data, 0, 0x7A, vector["header"])
    assert (caught.value.code, caught.value.layer, caught.value.offset) == (vector["code"], "tpl", vector["offset"])


@given(transport_headers())
def test_round_trip(header):
    data = header.encode()
    found, end = decode(data, 1, header.ci, header.header)
    assert (found, end) == (header, len(data))
    assert type(found.configuration) is type(header.configuration)


@given(st.sampled_from(["none", "short", "long"]), st.binary(max_size=24))
def test_any_octets_raise_only_our_errors(kind, data):
    try:
        header, end = decode(data, 0, 0x7A, kind)
    except DecodeError as error:
        assert_ours(error, "tpl", data)
    else:
        assert header.encode() == b"\x7a" + data[:end]
        assert 0 <= header.key_id <= 15
        assert header.key_version is None or 0 <= header.key_version <= 255
        assert header.counter is None or 0 <= header.counter < 1 << 32


@given(st.integers(0, 31), number(2), octet)
def test_the_mode_decides_the_extension(mode, value, first):
    configuration = value & ~0x1F00 | mode << 8
    size = extension_size(mode, configuration, first)
    data = bytes((1, 2)) + configuration.to_bytes(2, "little") + bytes((first,)) + bytes(20)
    header, end = decode(data, 0, 0x7A, "short")
    assert (header.mode, len(header.extension), end) == (mode, size, 4 + size)


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (0, ConfigurationA),
        (2, ConfigurationA),
        (4, ConfigurationA),
        (5, ConfigurationA),
        (7, ConfigurationB),
        (8, ConfigurationD),
        (9, ConfigurationDutch),
        (10, ConfigurationD),
        (13, ConfigurationD),
        (31, ConfigurationA),
    ],
)
def test_layout_of_the_configuration_field(mode, kind):
    assert CONFIGURATIONS[mode] is kind
    assert issubclass(kind, Configuration)
    assert kind.build(mode=mode).mode == mode


# mode: value, named bits (OMS Volume 2 5.0.1 clause 7.2 and the P2 companion standard)
LAYOUTS = [
    (ConfigurationA, 0x8000, "bidirectional"),
    (ConfigurationA, 0x4000, "accessibility"),
    (ConfigurationA, 0x2000, "synchronous"),
    (ConfigurationA, 0x0010, "blocks"),
    (ConfigurationA, 0x0004, "content"),
    (ConfigurationA, 0x0002, "repeated_access"),
    (ConfigurationA, 0x0001, "hop"),
    (ConfigurationB, 0x4000, "content"),
    (ConfigurationB, 0x2000, "counter_present"),
    (ConfigurationB, 0x0010, "blocks"),
    (ConfigurationB, 0x0008, "padding"),
    (ConfigurationB, 0x0001, "content_index"),
    (ConfigurationD, 0x4000, "content"),
    (ConfigurationD, 0x2000, "counter_present"),
    (ConfigurationD, 0x0001, "octets"),
    (ConfigurationDutch, 0x8000, "reserved"),
    (ConfigurationDutch, 0x4000, "truncated"),
    (ConfigurationDutch, 0x2000, "two_octet_length"),
    (ConfigurationDutch, 0x0080, "unencrypted"),
    (ConfigurationDutch, 0x0040, "encrypted"),
    (ConfigurationDutch, 0x0010, "key_derivation"),
    (ConfigurationDutch, 0x0001, "key_id"),
    (Extension, 0x40, "version_present"),
    (Extension, 0x10, "key_derivation"),
    (Extension, 0x01, "key_id"),
    (ExtensionContent, 0x04, "content_index"),
    (ExtensionContent, 0x01, "option"),
]


@pytest.mark.parametrize(("kind", "value", "name"), LAYOUTS, ids=[f"{kind.__name__}.{name}" for kind, _, name in LAYOUTS])
def test_bits_of_the_configuration_field(kind, value, name):
    assert {key: bit for key, bit in kind(value).named().items() if bit} == {name: 1}


def test_the_key_id_of_mode_9_stands_in_the_configuration_field():
    header = TransportHeader(0x7A, "short", None, 1, 0, ConfigurationDutch.build(mode=9, key_id=7), bytes(6))
    assert (header.key_id, header.counter, header.key_version) == (7, 0, None)


@pytest.mark.parametrize("mode", [7, 8, 9, 10])
def test_a_header_without_its_extension_has_no_keys(mode):
    header = TransportHeader(0x7A, "short", None, 1, 0, CONFIGURATIONS[mode].build(mode=mode))
    assert (header.key_id, header.key_version, header.counter) == (0, None, None)
    assert header.content_index == 0


SHORT = TransportHeader(0x7A, "short", None, 1)


@pytest.mark.parametrize(
    ("header", "error"),
    [
        (replace(SHORT, access_number=None), NotRepresentable),
        (replace(SHORT, header="long"), NotRepresentable),
        (replace(SHORT, header="long", address=Address(0, "1", 0, 0)), NotRepresentable),
        (replace(SHORT, access_number=256), OutOfRange),
        (replace(SHORT, status=-1), OutOfRange),
        (replace(SHORT, configuration=ConfigurationA(0x10000)), OutOfRange),
    ],
)
def test_headers_that_cannot_be_sent(header, error):
    with pytest.raises(EncodeError) as caught:
        header.encode()
    assert type(caught.value) is error
    assert caught.value.field


# -- the status octet of a gateway -------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/layers.toml", "rssi"))
def test_reception_level(vector):
    assert rssi_dbm(vector["status"]) == vector["dbm"]
    assert rssi_status(vector["dbm"]) == vector["status"]


@pytest.mark.parametrize("vector", shared("security.json", lambda row: row["frame_format"] == "status"))
def test_shared_reception_level(vector):
    status = octets(vector["hex"])[0]
    assert rssi_dbm(status) == vector["expected"]["rssi_dbm"]
    assert rssi_status(vector["expected"]["rssi_dbm"]) == status


@pytest.mark.parametrize(("dbm", "status"), [(None, 0), (-200, 1), (-130, 1), (-129, 1), (-5, 62), (-3, 63), (20, 63)])
def test_reception_level_saturates(dbm, status):
    assert rssi_status(dbm) == status


@given(octet)
def test_reserved_bits_do_not_change_the_level(status):
    assert rssi_dbm(status) == rssi_dbm(status & 0x3F)
    if status & 0x3F:
        assert rssi_status(rssi_dbm(status)) == status & 0x3F
