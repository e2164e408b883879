"""Addresses: both orders of the wire, text forms, wildcards, secondary selection."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.address import Address, Selection, flag_letters, flag_value
from openmetering.errors import EncodeError, NotRepresentable, OutOfRange
from tests.strategies import addresses, digits, octet, patterns, selections
from tests.vector_files import assert_prefixes_raise, octets, own, shared

METER = Address(0x1593, "12345678", 51, 3)


def of_text(name):
    return lambda row: row["frame_format"] == "address" and row["name"].startswith(name)


@pytest.mark.parametrize("vector", own("spec/addresses.toml", "manufacturer"))
def test_flag_codes(vector):
    assert flag_letters(vector["value"]) == vector["name"]
    assert flag_value(vector["name"]) == vector["value"]
    assert vector["value"].to_bytes(2, "little") == octets(vector["hex"])


@pytest.mark.parametrize("vector", shared("security.json", of_text("manufacturer code")))
def test_shared_flag_codes(vector):
    value = int.from_bytes(octets(vector["hex"]), "little")
    assert f"{value:04X}" == vector["expected"]["value"]
    assert flag_letters(value) == vector["expected"]["flag"]
    assert flag_value(vector["expected"]["flag"]) == value


@given(st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3))
def test_every_flag_code_round_trips(letters):
    value = flag_value(letters)
    assert flag_letters(value) == flag_letters(value | 0x8000) == letters
    assert value < 0x8000


@pytest.mark.parametrize("text", ["", "AB", "ABCD", "abc", "A1C", "ÄBC", "A C"])
def test_no_flag_code(text):
    with pytest.raises(NotRepresentable) as caught:
        flag_value(text)
    assert caught.value.field == "manufacturer"


@pytest.mark.parametrize(
    ("value", "letters"), [(0, "???"), (0x7FFF, "???"), (0x1593 & ~0x1F, "EL?"), (27 << 5 | 33 << 10, "A??")]
)
def test_values_without_letters(value, letters):
    assert flag_letters(value) == letters


@pytest.mark.parametrize("vector", own("spec/addresses.toml", "address"))
def test_addresses(vector):
    link, transport = octets(vector["link"]), octets(vector["transport"])
    address = Address.from_link(link)
    assert address == Address.from_transport(transport)
    assert (address.link_octets(), address.transport_octets()) == (link, transport)
    assert (str(address), Address.parse(vector["text"])) == (vector["text"], address)
    assert address.flag == vector["manufacturer"]
    assert address.identification == vector["identification"]
    assert (address.version, address.device_type) == (vector["version"], vector["device_type"])
    assert address.soft is vector.get("soft", False)
    assert address.din == vector.get("din")
    assert address.medium == vector.get("medium", address.medium)
    assert_prefixes_raise(Address.from_link, link, "address")
    assert_prefixes_raise(Address.from_transport, transport, "address")


def test_medium_is_the_name_of_the_device_type():
    assert METER.medium.lower() == "gas"
    assert Address(0, "00000000", 0, 0x04).medium != Address(0, "00000000", 0, 0x0A).medium


@given(addresses())
def test_octets_round_trip(address):
    assert Address.from_link(address.link_octets()) == address
    assert Address.from_transport(address.transport_octets()) == address
    assert sorted(address.link_octets()) == sorted(address.transport_octets())
    assert Address.parse(str(address)) == address
    assert Address.parse(f" {str(address).lower()} ") == address


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=4))
def test_any_eight_octets_are_an_address(part, before):
    octets_ = before + part + b"\x99"
    assert Address.from_link(octets_, len(before)).link_octets() == part
    assert Address.from_transport(octets_, len(before)).transport_octets() == part


@given(
    st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3), digits(8), octet, st.sampled_from([2, 3, 4, 6, 7, 8])
)
def test_din_round_trip(letters, number, version, kind):
    address = Address(flag_value(letters), number, version, kind)
    din = address.din
    assert din is not None
    assert len(din) == 14
    assert Address.from_din(din) == address
    assert Address.from_din(din.lower(), kind) == address


@pytest.mark.parametrize("vector", shared("security.json", of_text("DIN")))
def test_shared_din(vector):
    expected = vector["expected"]
    address = Address.from_transport(octets(expected["ala_on_wire"]))
    assert address == Address.from_din(expected["din"])
    assert address.link_octets() == octets(expected["lower_layer_on_wire"])
    assert address.din == expected["din"]
    assert address.din[0] == expected["obis_category"]
    assert (address.flag, address.version, address.identification) == (
        expected["manufacturer"],
        expected["version"],
        expected["ident"],
    )
    assert address.device_type == int(expected["device_type"], 16)


@pytest.mark.parametrize(
    ("category", "kind"), [("1", 2), ("4", 8), ("5", 0x0A), ("6", 4), ("7", 3), ("8", 7), ("9", 6), ("E", 0x0E), ("F", 0x0F)]
)
def test_din_categories_have_a_default_device_type(category, kind):
    assert Address.from_din(f"{category}ELS3312345678").device_type == kind
    assert Address.from_din(f"{category}ELS3312345678", 0x15).device_type == 0x15


@pytest.mark.parametrize(
    "text",
    [
        "",
        "7ELS331234567",
        "7ELS33123456789",
        "7ELS33ABCDEFGH",
        "2ELS3312345678",
        "AELS3312345678",
        "7EL33312345678",
        "7ELSZZ12345678",
        "7ELS+112345678",
        "7ELS_112345678",
        "7ELS33１２３４５６７８",
        "7ELS٣٣12345678",
    ],
)
def test_no_din_number(text):
    with pytest.raises(NotRepresentable) as caught:
        Address.from_din(text)
    assert caught.value.field in ("din", "manufacturer")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "12345678",
        "ELS-12345678-33",
        "ELS-12345678-33-03-00",
        "ELS-1234567-33-03",
        "ELS-12345678-133-03",
        "ELS-12345678-33-1FF",
        "ELS-1234567G-33-03",
        "EL-12345678-33-03",
        "GHIJ-12345678-33-03",
        "ELS-12345678-XX-03",
        "E1S-12345678-33-03",
    ],
)
def test_no_address(text):
    with pytest.raises(NotRepresentable) as caught:
        Address.parse(text)
    assert caught.value.field in ("address", "manufacturer", "identification")


@given(st.text(alphabet="-0123456789ABCDEFGXYZ +_", max_size=24))
def test_parsing_any_text_raises_only_our_error(text):
    try:
        address = Address.parse(text)
    except NotRepresentable:
        return
    assert Address.from_link(address.link_octets()).link_octets() == address.link_octets()


@pytest.mark.parametrize(
    ("address", "error"),
    [
        (Address(0x10000, "12345678", 0, 0), OutOfRange),
        (Address(-1, "12345678", 0, 0), OutOfRange),
        (Address(0, "12345678", 256, 0), OutOfRange),
        (Address(0, "12345678", 0, -1), OutOfRange),
        (Address(0, "1234567", 0, 0), NotRepresentable),
        (Address(0, "123456789A", 0, 0), NotRepresentable),
        (Address(0, "1234567x", 0, 0), NotRepresentable),
        (Address(0, "", 0, 0), NotRepresentable),
    ],
)
def test_addresses_that_cannot_be_sent(address, error):
    for send in (address.link_octets, address.transport_octets):
        with pytest.raises(EncodeError) as caught:
            send()
        assert type(caught.value) is error
        assert caught.value.field in ("address", "identification")


def test_addresses_sort_and_share():
    assert Address.from_link(METER.link_octets()) is Address.from_link(METER.link_octets())
    assert sorted([METER, Address(0x0421, "99999999", 0, 0)])[0].flag == "AAA"


# -- wildcards ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("ELS-12345678-33-03", True),
        ("FFFF-FFFFFFFF-FF-FF", True),
        ("ELS-12FFFF78-33-FF", True),
        ("ELS-1FFFFFFF-FF-03", True),
        ("ELS-2FFFFFFF-FF-03", False),
        ("ELS-12345679-33-03", False),
        ("QDS-12345678-33-03", False),
        ("ELS-12345678-34-03", False),
        ("ELS-12345678-33-04", False),
        ("9593-12345678-33-03", False),
    ],
)
def test_wildcards(pattern, fits):
    assert METER.matches(Address.parse(pattern)) is fits


@given(addresses(), st.data())
def test_a_pattern_made_of_an_address_matches_it(address, data):
    cover = data.draw(st.lists(st.booleans(), min_size=8, max_size=8))
    number = "".join("f" if hidden else digit for hidden, digit in zip(cover, address.identification, strict=True))
    pattern = Address(
        data.draw(st.sampled_from([address.manufacturer, 0xFFFF])),
        number,
        data.draw(st.sampled_from([address.version, 0xFF])),
        data.draw(st.sampled_from([address.device_type, 0xFF])),
    )
    assert address.matches(pattern)


@given(addresses(), patterns())
def test_wildcards_by_the_rule(address, pattern):
    numbers = zip(pattern.identification, address.identification, strict=True)
    expected = (
        all(want in ("F", have) for want, have in numbers)
        and pattern.manufacturer in (0xFFFF, address.manufacturer)
        and pattern.version in (0xFF, address.version)
        and pattern.device_type in (0xFF, address.device_type)
    )
    assert address.matches(pattern) is expected


# -- secondary selection -----------------------------------------------------------------------


@pytest.mark.parametrize("vector", own("spec/addresses.toml", "selection"))
def test_selection(vector):
    data = octets(vector["hex"])
    selection = Selection.decode(data)
    pattern = Address.parse(vector["pattern"])
    assert selection == Selection(pattern, vector.get("fabrication"), octets(vector.get("more", "")))
    assert selection.encode() == data
    assert_prefixes_raise(Selection.decode, data[:8], "address")


@given(selections())
def test_selections_round_trip(selection):
    data = selection.encode()
    assert len(data) == (8 if selection.fabrication is None else 14)
    assert Selection.decode(data) == selection


@given(st.binary(min_size=8, max_size=24))
def test_any_selection_comes_back_octet_for_octet(data):
    assert Selection.decode(data).encode() == data


def test_a_fabrication_number_has_eight_digits():
    with pytest.raises(NotRepresentable):
        Selection(METER, "1234").encode()
