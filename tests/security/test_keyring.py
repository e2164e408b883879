"""Keys and the ring: order of the search, wildcards, versions, cache, files."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import InputError, KeyNotFound, OutOfRange
from openmetering.security import ROW_COLUMNS, AddressPattern, BlockCipher, DesCipher, Key, KeyRing, key_purpose, parse_key
from openmetering.security import keyring as module

METER = bytes.fromhex("9315785634123303")
OTHER = bytes.fromhex("2d2c785634123303")
ADAPTER = bytes.fromhex("9344443322115537")


def key(number):
    return bytes((number,)) * 16


def octets(keys):
    return [one.octets[0] for one in keys]


# -- one key ----------------------------------------------------------------------------------


def test_a_key_keeps_its_ciphers():
    one = Key(key(1))
    assert isinstance(one.cipher, BlockCipher)
    assert one.cipher is one.cipher
    assert one.cipher.encrypt_blocks(bytes(16)) == BlockCipher(key(1)).encrypt_blocks(bytes(16))
    two = Key(bytes(8))
    assert isinstance(two.des, DesCipher)
    assert two.des is two.des


@pytest.mark.parametrize(("size", "name"), [(8, "cipher"), (16, "des")])
def test_a_key_of_the_wrong_size_makes_no_cipher(size, name):
    with pytest.raises(InputError) as caught:
        getattr(Key(bytes(size)), name)
    assert caught.value.code == "key.invalid"


def test_a_key_is_frozen():
    one = Key(key(1), 2, 3, "cellar")
    for change in (lambda: setattr(one, "octets", key(2)), lambda: setattr(one, "extra", 1), lambda: delattr(one, "octets")):
        with pytest.raises(AttributeError, match="frozen"):
            change()
    assert (one.octets, one.key_id, one.version, one.label) == (key(1), 2, 3, "cellar")
    with pytest.raises(AttributeError, match="no attribute"):
        _ = one.secret


def test_keys_compare_by_octets_and_numbers():
    assert Key(key(1)) == Key(key(1), label="other label")
    assert hash(Key(key(1))) == hash(Key(key(1), label="other label"))
    assert Key(key(1)) != Key(key(2))
    assert Key(key(1)) != Key(key(1), 1)
    assert Key(key(1)) != Key(key(1), 0, 1)
    assert Key(key(1)) != key(1)


def test_copies_are_the_key_itself():
    one = Key(key(1))
    assert copy.copy(one) is one
    assert copy.deepcopy([one])[0] is one


def test_version_ff_is_no_version():
    assert Key(key(1), version=0xFF).version is None


@pytest.mark.parametrize("size", [0, 7, 9, 15, 17, 24, 32])
def test_key_sizes(size):
    with pytest.raises(InputError) as caught:
        Key(bytes(size))
    assert caught.value.code == "key.invalid"


@pytest.mark.parametrize(("key_id", "version"), [(-1, None), (256, None), (0, -1), (0, 256)])
def test_numbers_are_octets(key_id, version):
    with pytest.raises(InputError) as caught:
        Key(key(1), key_id, version)
    assert caught.value.code == "key.invalid"


@pytest.mark.parametrize(
    ("key_id", "purpose"),
    [
        (0x00, "communication"),
        (0x0F, "communication"),
        (0x10, "wrapper"),
        (0x17, "wrapper"),
        (0x18, "application"),
        (0x2F, "application"),
        (0x30, "manufacturer"),
        (0x81, "asymmetric"),
        (0xFF, "reserved"),
        (None, "any"),
    ],
)
def test_purposes(key_id, purpose):
    assert Key(key(1), key_id).purpose == purpose
    assert key_purpose(key_id) == purpose


@pytest.mark.parametrize("key_id", [-1, 256])
def test_purpose_of_no_octet(key_id):
    with pytest.raises(OutOfRange):
        key_purpose(key_id)


@pytest.mark.parametrize(
    "text",
    [
        "000102030405060708090a0b0c0d0e0f",
        " 00 01 02 03 04 05 06 07 08 09 0A 0B 0C 0D 0E 0F\n",
        "00:01:02:03:04:05:06:07:08:09:0a:0b:0c:0d:0e:0f",
        "00010203-04050607-08090A0B-0C0D0E0F",
        "0x000102030405060708090A0B0C0D0E0F",
    ],
)
def test_keys_are_read_from_text(text):
    assert parse_key(text) == bytes(range(16))


def test_des_keys_are_read_from_text():
    assert parse_key("133457799BBCDFF1") == bytes.fromhex("133457799BBCDFF1")


@pytest.mark.parametrize("text", ["", "00", "0" * 31, "0" * 33, "0" * 64, "secret secret secret secret se!!", "g" * 32])
def test_other_text_is_no_key_and_is_not_repeated(text):
    with pytest.raises(InputError) as caught:
        parse_key(text)
    assert caught.value.code == "key.invalid"
    if len(text) > 4:
        assert text not in str(caught.value)


# -- search -----------------------------------------------------------------------------------


def test_the_most_specific_pattern_comes_first():
    ring = KeyRing()
    for number, pattern in enumerate(["*", "ELS", "12345678", "ELS.12345678", "ELS-12345678-33-03", "KAM"], 1):
        ring.add(pattern, key(number))
    assert octets(ring.find(METER)) == [5, 4, 3, 2, 1]
    assert octets(ring.find(OTHER)) == [6 - 3, 6, 1]
    assert octets(ring.find(ADAPTER)) == [1]


def test_adapter_and_meter_may_both_have_keys():
    ring = KeyRing()
    ring.add(METER, key(1))
    ring.add(ADAPTER, key(2))
    assert octets(ring.find(METER)) == [1]
    assert octets(ring.find(ADAPTER)) == [2]
    assert ring.find(OTHER) == ()


def test_exact_version_before_unversioned():
    ring = KeyRing()
    for number, version in ((1, None), (2, 1), (3, 2)):
        ring.add(METER, key(number), version=version)
    assert octets(ring.find(METER, version=1)) == [2, 1]
    assert octets(ring.find(METER, version=2)) == [3, 1]
    assert octets(ring.find(METER, version=7)) == [1]
    assert octets(ring.find(METER)) == [1, 3, 2], "without a version: unversioned, then the highest"
    assert ring.find(METER, version=0xFF) == ring.find(METER), "FFh asks for no version"


def test_a_specific_pattern_beats_an_exact_version():
    ring = KeyRing()
    ring.add("*", key(1), version=1)
    ring.add(METER, key(2))
    assert octets(ring.find(METER, version=1)) == [2, 1]


def test_key_ids_are_kept_apart():
    ring = KeyRing()
    ring.add(METER, key(1))
    ring.add(METER, key(2), key_id=0x20)
    ring.add(METER, key(3), key_id=None)
    assert octets(ring.find(METER)) == [1, 3]
    assert octets(ring.find(METER, key_id=0x20)) == [2, 3]
    assert octets(ring.find(METER, key_id=0x21)) == [3]
    assert octets(ring.find(METER, key_id=None)) == [2, 1, 3]


def test_the_last_added_of_equals_comes_first():
    ring = KeyRing()
    for number in (1, 2, 3):
        ring.add(METER, key(number))
    assert octets(ring.find(METER)) == [3, 2, 1]


def test_equal_octets_are_tried_once():
    ring = KeyRing()
    ring.add("*", key(1))
    ring.add("ELS", key(2))
    best = ring.add(METER, key(1))
    found = ring.find(METER)
    assert octets(found) == [1, 2]
    assert found[0] is best


def test_the_same_entry_is_added_once():
    ring = KeyRing()
    first = ring.add("ELS.12345678", key(1), label="a")
    assert ring.add("els-12345678", key(1).hex(), label="b") is first
    assert len(ring) == 1
    ring.add("ELS.12345678", key(1), version=1)
    assert len(ring) == 2


def test_single_fits_every_device_and_key_id():
    ring = KeyRing.single("01" * 16)
    for address in (METER, OTHER, ADAPTER):
        for key_id in (0, 1, 0x20, None):
            assert octets(ring.find(address, key_id=key_id, version=3)) == [1]


def test_des_keys_are_found_on_demand_only():
    ring = KeyRing()
    ring.add(METER, key(1))
    ring.add(METER, bytes(8))
    assert octets(ring.find(METER)) == [1]
    assert [one.octets for one in ring.find(METER, size=8)] == [bytes(8)]


def test_adding_forgets_what_was_found():
    ring = KeyRing()
    assert ring.find(METER) == ()
    ring.add(METER, key(1))
    assert octets(ring.find(METER)) == [1]
    assert ring.find(METER) is ring.find(METER), "the answer is kept"
    ring.add("*", key(2))
    assert octets(ring.find(METER)) == [1, 2]


def test_the_cache_is_bounded(monkeypatch):
    monkeypatch.setattr(module, "_CACHE_LIMIT", 8)
    ring = KeyRing.single(key(1))
    for number in range(50):
        assert octets(ring.find(number.to_bytes(8, "big"))) == [1]
        assert len(ring._cache) <= 8


@pytest.mark.parametrize("length", [0, 7, 9])
def test_an_address_has_eight_octets(length):
    with pytest.raises(OutOfRange):
        KeyRing().find(bytes(length))


def test_require_names_the_address():
    ring = KeyRing()
    ring.add(METER, key(1))
    assert octets(ring.require(METER)) == [1]
    with pytest.raises(KeyNotFound) as caught:
        ring.require(ADAPTER, key_id=0x20, version=3)
    assert (caught.value.code, caught.value.address) == ("key.missing", "QDS-11223344-55-37")
    assert caught.value.message == "no key for QDS-11223344-55-37 with KeyID 20h and KeyVersion 03h"
    with pytest.raises(KeyNotFound) as bare:
        ring.require(ADAPTER, key_id=None)
    assert bare.value.message == "no key for QDS-11223344-55-37"


masks = st.sampled_from(["ff" * 8, "00" * 8, "ffff" + "00" * 6, "0000ffffffff0000", "ffffffffffff0000", "ffff0000f0000000"])
entries = st.lists(
    st.tuples(
        st.binary(min_size=8, max_size=8).map(lambda raw: bytes(octet & 0x11 for octet in raw)),
        masks.map(bytes.fromhex),
        st.integers(0, 40),
        st.sampled_from([None, 0, 1]),
        st.sampled_from([None, 1, 2]),
    ),
    max_size=12,
)


@given(entries, st.sampled_from([0, 1]), st.sampled_from([None, 1, 2]))
def test_the_index_finds_what_a_scan_finds(rows, key_id, version):
    ring = KeyRing()
    for address, mask, number, one_id, one_version in rows:
        ring.add(AddressPattern(address, mask), key(number), one_id, one_version)
    asked = [address for address, *_ in rows] or [METER]
    for address in asked:
        scanned = {
            one.octets
            for pattern, one in ring
            if pattern.matches(address) and one.key_id in (None, key_id) and (version is None or one.version in (None, version))
        }
        found = ring.find(address, key_id=key_id, version=version)
        assert {one.octets for one in found} == scanned
        assert len(found) == len(scanned)


# -- files ------------------------------------------------------------------------------------


def test_rows_round_trip():
    ring = KeyRing()
    ring.add("ELS-12345678-33-03", key(1), label="cellar, left")
    ring.add("12*", key(2), key_id=0x20, version=0)
    ring.add("*", bytes(8), key_id=None, version=254)
    rows = ring.to_rows()
    assert rows == [
        ("ELS-12345678-33-03", "01" * 16, "0x00", "", "cellar, left"),
        ("12******", "02" * 16, "0x20", "0x00", ""),
        ("*", "00" * 8, "*", "0xFE", ""),
    ]
    assert len(ROW_COLUMNS) == len(rows[0])
    again = KeyRing.from_rows(rows)
    assert list(again) == list(ring)
    assert [one.label for _, one in again] == ["cellar, left", None, None]


@pytest.mark.parametrize(
    ("row", "key_id", "version"),
    [
        (["12345678", "01" * 16], 0, None),
        (["12345678", "01" * 16, ""], 0, None),
        (["12345678", "01" * 16, " 32 ", "7", "x", "more", "columns"], 32, 7),
        (["12345678", "01" * 16, "20h", "0x0A"], 0x20, 10),
        (["12345678", "01" * 16, "*", "0"], None, 0),
        (["12345678", "01" * 16, "08", "FFh"], 8, None),
    ],
)
def test_numbers_in_rows(row, key_id, version):
    [(pattern, one)] = KeyRing.from_rows([row])
    assert pattern.text == "12345678"
    assert (one.key_id, one.version) == (key_id, version)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (["12345678"], "key.invalid"),
        ([], "address.invalid"),
        (["12345678", "01" * 15], "key.invalid"),
        (["nowhere-at-all", "01" * 16], "address.invalid"),
        (["01" * 16, "12345678"], "address.invalid"),
        (["12345678", "01" * 16, "20"[::-1] + "x"], "key.invalid"),
        (["12345678", "01" * 16, "256"], "key.invalid"),
        (["12345678", "01" * 16, "0", "-1"], "key.invalid"),
    ],
)
def test_wrong_rows_are_named_by_their_number(row, code):
    with pytest.raises(InputError) as caught:
        KeyRing.from_rows([["12345678", "02" * 16], row])
    assert caught.value.code == code
    assert caught.value.message.startswith("row 2: ")
    assert "01" * 15 not in str(caught.value)


def test_iteration_sees_a_snapshot():
    ring = KeyRing.single(key(1))
    for pattern, one in ring:
        ring.add(METER, key(2))
        assert (pattern.text, one.octets) == ("*", key(1))
    assert len(ring) == 2
