"""Address patterns: text forms, wildcards, masks, specificity."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError, OutOfRange
from openmetering.security import AddressPattern, address_text, manufacturer_octets, manufacturer_text

METER = bytes.fromhex("9315785634123303")  # ELS 12345678, version 33h, gas
EVERYTHING = bytes(8)
addresses = st.binary(min_size=8, max_size=8)


# -- manufacturer -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("letters", "octets"), [("ELS", "9315"), ("QDS", "9344"), ("KAM", "2d2c"), ("EMH", "a815"), ("AAA", "2104"), ("ZZZ", "5a6b")]
)
def test_manufacturer_codes(letters, octets):
    assert manufacturer_octets(letters).hex() == octets
    assert manufacturer_text(bytes.fromhex(octets)) == letters


@pytest.mark.parametrize("text", ["", "EL", "ELSE", "els", "E1S", "ÄÖÜ"])
def test_other_manufacturers_are_refused(text):
    with pytest.raises(InputError) as caught:
        manufacturer_octets(text)
    assert caught.value.code == "address.invalid"


def test_codes_without_letters_are_shown_as_digits():
    assert manufacturer_text(b"\x00\x00") == "0000"
    assert manufacturer_text(b"\xff\xff") == "FFFF"
    assert manufacturer_text(b"\x93\x95") == "9593", "a soft address is told apart"


def test_address_text():
    assert address_text(METER) == "ELS-12345678-33-03"
    assert address_text(b"\x01\x02") == "0102", "what is no address is still shown"


# -- text forms -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "octets", "mask"),
    [
        ("12345678", "0000785634120000", "0000ffffffff0000"),
        (" 12345678 ", "0000785634120000", "0000ffffffff0000"),
        ("1234567", "0000674523010000", "0000ffffffff0000"),
        ("ELS", "9315000000000000", "ff7f000000000000"),
        ("els.12345678", "9315785634120000", "ff7fffffffff0000"),
        ("ELS-12345678-33", "9315785634123300", "ff7fffffffffff00"),
        ("ELS-12345678-33-03", "9315785634123303", "ff7fffffffffffff"),
        ("ELS 12345678:33.03", "9315785634123303", "ff7fffffffffffff"),
        ("1593-12345678-33-03", "9315785634123303", "ff7fffffffffffff"),
        ("7ELS3312345678", "9315785634123300", "ff7fffffffffff00"),
        ("7 ELS 33 12345678", "9315785634123300", "ff7fffffffffff00"),
        ("7ELS??12345678", "9315785634120000", "ff7fffffffff0000"),
        ("7ELS331234****", "9315000034123300", "ff7f0000ffffff00"),
        ("*", "0000000000000000", "0000000000000000"),
        ("*.12345678", "0000785634120000", "0000ffffffff0000"),
        ("???-12345678", "0000785634120000", "0000ffffffff0000"),
        ("FFFF-12345678-FF-FF", "0000785634120000", "0000ffffffff0000"),
        ("ELS.*", "9315000000000000", "ff7f000000000000"),
        ("ELS.*.33", "9315000000003300", "ff7f00000000ff00"),
        ("ELS.12*", "9315000000120000", "ff7f000000ff0000"),
        ("12*", "0000000000120000", "0000000000ff0000"),
        ("*78", "0000780000000000", "0000ff0000000000"),
        ("1234****", "0000000034120000", "00000000ffff0000"),
        ("FFFF5678", "0000785600000000", "0000ffff00000000"),
        ("1?3F5678", "0000785630100000", "0000fffff0f00000"),
        ("ELS-A2345678", "9315785634a20000", "ff7fffffffff0000"),
        ("ELS-12345678-3?-*7", "9315785634123007", "ff7ffffffffff00f"),
        ("ELS-12345678-0F-*", "9315785634120f00", "ff7fffffffffff00"),
        ("9315785634123303/FFFFFFFF00000000", "9315785600000000", "ff7fffff00000000"),
    ],
)
def test_text_forms(text, octets, mask):
    pattern = AddressPattern.parse(text)
    assert (pattern.octets.hex(), pattern.mask.hex()) == (octets, mask)
    assert AddressPattern.parse(pattern.text) == pattern
    assert pattern.specificity == int(mask, 16).bit_count()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "...",
        "123456789",
        "1234567G",
        "ELSE.12345678",
        "EL.12345678",
        "XYZW-12345678",
        "ELS-12345678-333",
        "KAM-12345678-3",
        "ELS-12345678-33-GG",
        "ELS-12345678-33-03-01",
        "ELS.12A",
        "ELS.1*2*",
        "7ELS331234567",
        "GELS3312345678",
        "9315785634123303",
        "9315785634123303/FF",
        "000102030405060708090A0B0C0D0E0F",
        "١٢٣٤٥٦٧٨",
        "-",
    ],
)
def test_other_text_is_refused_and_not_repeated(text):
    with pytest.raises(InputError) as caught:
        AddressPattern.parse(text)
    assert (caught.value.code, caught.value.layer) == ("address.invalid", "address")
    if len(text) > 8:
        assert text not in caught.value.message


def test_a_key_in_the_address_column_is_noticed():
    with pytest.raises(InputError, match="columns swapped"):
        AddressPattern.parse("000102030405060708090A0B0C0D0E0F")


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (AddressPattern.exact(METER), "ELS-12345678-33-03"),
        (AddressPattern.everything(), "*"),
        (AddressPattern.parse("12345678"), "12345678"),
        (AddressPattern.parse("ELS"), "ELS"),
        (AddressPattern.parse("*-12345678-33"), "*-12345678-33"),
        (AddressPattern.parse("ELS-*-33"), "ELS-*-33"),
        (AddressPattern.parse("7ELS3312345678"), "ELS-12345678-33"),
        (AddressPattern.parse("12*"), "12******"),
        (AddressPattern.exact(bytes.fromhex("0000785634123303")), "0000-12345678-33-03"),
        (AddressPattern.exact(bytes.fromhex("931578563412ff03")), "931578563412FF03/FF7FFFFFFFFFFFFF"),
        (AddressPattern.exact(bytes.fromhex("9315f85634123303")), "9315F85634123303/FF7FFFFFFFFFFFFF"),
        (AddressPattern(METER, b"\x0f" + bytes(7)), "0300000000000000/0F00000000000000"),
    ],
)
def test_text_of_patterns(pattern, text):
    assert pattern.text == text
    assert str(pattern) == text
    assert AddressPattern.parse(text) == pattern


@given(addresses, addresses)
def test_every_pattern_has_a_text(octets, mask):
    pattern = AddressPattern(octets, mask)
    assert AddressPattern.parse(pattern.text) == pattern


# -- matching ---------------------------------------------------------------------------------


@given(addresses, addresses)
def test_an_exact_pattern_matches_one_address(one, two):
    pattern = AddressPattern.exact(one)
    assert pattern.matches(one)
    assert AddressPattern.everything().matches(one)
    hard = bytes.fromhex("ff7fffffffffffff")
    equal = all(a & m == b & m for a, b, m in zip(one, two, hard, strict=True))
    assert pattern.matches(two) == equal


@given(addresses, addresses, addresses)
def test_only_masked_bits_count(octets, mask, other):
    pattern = AddressPattern(octets, mask)
    mixed = bytes(o & m | x & ~m & 0xFF for o, m, x in zip(octets, mask, other, strict=True))
    assert pattern.matches(mixed)


def test_the_soft_bit_does_not_count():
    soft = bytes.fromhex("9395785634123303")
    assert AddressPattern.exact(METER).matches(soft)
    assert AddressPattern.exact(soft) == AddressPattern.exact(METER)
    assert AddressPattern.parse("ELS-12345678").matches(soft)


def test_same_number_of_two_manufacturers():
    pattern = AddressPattern.parse("ELS-12345678")
    assert pattern.matches(METER)
    assert not pattern.matches(bytes.fromhex("2d2c785634123303"))
    assert AddressPattern.parse("12345678").matches(bytes.fromhex("2d2c785634123303"))


def test_what_is_no_address_matches_nothing():
    for octets in (b"", METER[:7], METER + b"\0", b"\0" + METER):
        assert not AddressPattern.everything().matches(octets)
        assert not AddressPattern.exact(METER).matches(octets)


@pytest.mark.parametrize(("octets", "mask"), [(bytes(7), bytes(8)), (bytes(8), bytes(9))])
def test_a_pattern_has_eight_octets(octets, mask):
    with pytest.raises(OutOfRange):
        AddressPattern(octets, mask)


def test_patterns_are_values():
    one, two = AddressPattern.parse("ELS-12345678"), AddressPattern.parse("els.12345678")
    assert one == two
    assert hash(one) == hash(two)
    assert one.specificity > AddressPattern.parse("12345678").specificity > AddressPattern.parse("ELS").specificity > 0
