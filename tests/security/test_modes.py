"""Security modes, extended link layer and AFL MAC in both directions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.errors import (
    AuthenticationFailed,
    DecodeError,
    EncodeError,
    OutOfRange,
    Truncated,
    UnsupportedSecurity,
    WrongKey,
)
from openmetering.security import (
    KEY_INFORMATION_IN_MAC,
    SUPPORTED_MODES,
    BlockCipher,
    DesCipher,
    afl_mac,
    afl_mac_length,
    check_afl_mac,
    ell_counter_block,
    fill,
    mode5_iv,
    mode9_aad,
    mode9_nonce,
    mode10_aad,
    mode10_nonce,
    open_cbc,
    open_ell,
    open_mode2,
    open_mode9,
    open_mode10,
    require_verification,
    seal_cbc,
    seal_ell,
    seal_mode2,
    seal_mode9,
    seal_mode10,
    session_keys,
    tpl_pad,
    tpl_strip,
    unsupported,
    verified,
)
from openmetering.security.modes import afl_mac_input

CIPHER = BlockCipher(bytes(range(16)))
OTHER = BlockCipher(bytes(range(1, 17)))
ADDRESS = bytes.fromhex("9315785634123303")
addresses = st.binary(min_size=8, max_size=8)
octet = st.integers(0, 255)
counters = st.integers(0, 0xFFFFFFFF)
contents = st.binary(max_size=120)


# -- published examples -----------------------------------------------------------------------


def test_mode5_published(own_mode5):
    cipher = BlockCipher(bytes.fromhex(own_mode5["key"]))
    address, access = bytes.fromhex(own_mode5["address"]), own_mode5["access_number"]
    plain, sealed = bytes.fromhex(own_mode5["plaintext"]), bytes.fromhex(own_mode5["ciphertext"])
    assert mode5_iv(address, access).hex().upper() == own_mode5["iv"]
    assert open_cbc(5, cipher, address, access, sealed) == plain
    assert seal_cbc(5, cipher, address, access, plain) == sealed


def test_mode7_published(own_mode7):
    master = BlockCipher(bytes.fromhex(own_mode7["key"]))
    number, counter = bytes.fromhex(own_mode7["identification"]), own_mode7["counter"]
    keys = session_keys(master, counter, number, downlink=own_mode7["downlink"])
    message, header = bytes.fromhex(own_mode7["message"]), own_mode7["header"]
    mac, control = bytes.fromhex(own_mode7["mac"]), own_mode7["message_control"]
    length = own_mode7.get("message_length")
    check_afl_mac(keys.authentication, mac, control, message, counter=counter, message_length=length)
    plain = bytes.fromhex(own_mode7["plaintext"])
    opened = open_cbc(7, keys.encryption, ADDRESS, 0, message[header : header + len(plain)])
    assert opened == plain
    if "stripped" in own_mode7:
        assert tpl_strip(plain).hex().upper() == own_mode7["stripped"]
        assert tpl_pad(tpl_strip(plain)) == plain
    sealed = message[:header] + seal_cbc(7, keys.encryption, ADDRESS, 0, plain) + message[header + len(plain) :]
    assert sealed == message
    assert afl_mac(keys.authentication, control, sealed, counter=counter, message_length=length) == mac


def test_mode10_published(own_mode10):
    master = BlockCipher(bytes.fromhex(own_mode10["key"]))
    address, counter = bytes.fromhex(own_mode10["address"]), own_mode10["counter"]
    cipher = session_keys(master, counter, address[2:6]).encryption
    fields = own_mode10["ci"], own_mode10["access_number"], own_mode10["status"]
    aad = mode10_aad(*fields, bytes.fromhex(own_mode10["configuration"]), bytes.fromhex(own_mode10["extension"]))
    assert mode10_nonce(address, counter).hex().upper() == own_mode10["nonce"]
    assert aad.hex().upper() == own_mode10["aad"]
    payload, plain = bytes.fromhex(own_mode10["payload"]), bytes.fromhex(own_mode10["plaintext"])
    assert open_mode10(cipher, address, counter, aad, payload) == plain
    assert open_mode10(cipher, address, counter, aad, payload, encrypted=len(plain)) == plain
    assert seal_mode10(cipher, address, counter, aad, plain) == payload


# -- verification, filling, padding ------------------------------------------------------------


def test_verification():
    assert verified(b"\x2f\x2f\x0c")
    assert require_verification(b"\x2f\x2f") == b"\x2f\x2f"
    for wrong in (b"", b"\x2f", b"\x2f\x2e", b"\x2e\x2f"):
        assert not verified(wrong)
        with pytest.raises(WrongKey) as caught:
            require_verification(wrong)
        assert caught.value.code == "key.mismatch.verification"


@given(contents, st.sampled_from([8, 16]))
def test_fill_only_adds_fillers(data, block):
    filled = fill(data, block)
    assert len(filled) % block == 0
    assert len(filled) - len(data) < block
    assert filled[: len(data)] == data
    assert set(filled[len(data) :]) <= {0x2F}


@given(contents)
def test_padding_round_trip(data):
    padded = tpl_pad(data)
    assert len(padded) % 16 == 0
    if len(data) % 16:
        assert tpl_strip(padded) == data
    else:
        assert padded == data, "what fits already gets no padding"


@pytest.mark.parametrize("octets", ["", "00", "02", "0102", "10" * 16, "0502050505", "ff" * 20, "05050505"])
def test_wrong_padding(octets):
    octets = bytes.fromhex(octets)
    with pytest.raises(DecodeError) as caught:
        tpl_strip(octets)
    assert (caught.value.code, caught.value.layer, caught.value.octets) == ("tpl.padding", "tpl", octets)
    assert caught.value.offset == max(len(octets) - 1, 0)


# -- modes 4, 5, 7 -----------------------------------------------------------------------------


@given(st.sampled_from([4, 5, 7]), addresses, octet, contents)
def test_cbc_round_trip(mode, address, access, data):
    plain = fill(b"\x2f\x2f" + data)
    sealed = seal_cbc(mode, CIPHER, address, access, plain)
    assert open_cbc(mode, CIPHER, address, access, sealed) == plain
    with pytest.raises(WrongKey) as caught:
        open_cbc(mode, OTHER, address, access, seal_cbc(mode, CIPHER, address, access, b"\x2f" * 16))
    assert caught.value.code == "key.mismatch.verification"


def test_the_address_and_access_number_count_in_mode_5_only():
    plain = b"\x2f" * 32
    one, two = ADDRESS, ADDRESS[:-1] + b"\x07"
    assert seal_cbc(5, CIPHER, one, 1, plain) != seal_cbc(5, CIPHER, two, 1, plain)
    assert seal_cbc(5, CIPHER, one, 1, plain) != seal_cbc(5, CIPHER, one, 2, plain)
    for mode in (4, 7):
        assert seal_cbc(mode, CIPHER, one, 1, plain) == CIPHER.cbc_encrypt(plain, bytes(16))


@pytest.mark.parametrize("mode", [0, 1, 2, 3, 6, 8, 9, 10, 13, 15, 31])
def test_other_modes_are_not_opened_as_cbc(mode):
    with pytest.raises(UnsupportedSecurity) as caught:
        open_cbc(mode, CIPHER, ADDRESS, 0, bytes(16))
    assert caught.value.code == "security.unsupported"
    with pytest.raises(UnsupportedSecurity):
        seal_cbc(mode, CIPHER, ADDRESS, 0, b"\x2f" * 16)


def test_cbc_refusals():
    with pytest.raises(Truncated) as caught:
        open_cbc(5, CIPHER, ADDRESS, 0, b"")
    assert caught.value.code == "security.length"
    with pytest.raises(Truncated):
        open_cbc(5, CIPHER, ADDRESS, 0, bytes(15))
    with pytest.raises(EncodeError, match="2F 2F"):
        seal_cbc(5, CIPHER, ADDRESS, 0, bytes(16))
    with pytest.raises(OutOfRange):
        seal_cbc(5, CIPHER, ADDRESS, 0, b"\x2f" * 17)
    for access in (-1, 256):
        with pytest.raises(OutOfRange, match="access_number"):
            mode5_iv(ADDRESS, access)
    for address in (b"", ADDRESS[:7], ADDRESS + b"\0"):
        with pytest.raises(OutOfRange, match="8 octets"):
            mode5_iv(address, 0)


def test_unsupported_modes_are_named():
    assert "TLS" in unsupported(13).message
    assert "CTR" in unsupported(8).message
    assert "reserved" in unsupported(22).message
    assert frozenset({0, 2, 4, 5, 7, 9, 10}) == SUPPORTED_MODES


# -- mode 2 ------------------------------------------------------------------------------------


@given(st.binary(min_size=8, max_size=8), contents)
def test_mode2_round_trip(key, data):
    plain = fill(b"\x2f\x2f" + data, 8)
    assert open_mode2(DesCipher(key), seal_mode2(DesCipher(key), plain)) == plain


def test_mode2_refusals():
    one, two = DesCipher(b"12345678"), DesCipher(b"abcdefgh")
    with pytest.raises(WrongKey) as caught:
        open_mode2(two, seal_mode2(one, b"\x2f" * 8))
    assert caught.value.code == "key.mismatch.verification"
    with pytest.raises(Truncated):
        open_mode2(one, b"")
    with pytest.raises(Truncated):
        open_mode2(one, bytes(9))
    with pytest.raises(EncodeError):
        seal_mode2(one, bytes(8))


# -- mode 10 -----------------------------------------------------------------------------------

AAD10 = mode10_aad(0x7A, 0x75, 0, b"\x11\x2a", b"\x10\x01")


@given(addresses, counters, contents, contents, st.sampled_from([8, 16]))
def test_mode10_round_trip(address, counter, data, clear, tag_length):
    payload = seal_mode10(CIPHER, address, counter, AAD10, data, clear=clear, tag_length=tag_length)
    assert payload[len(data) : len(payload) - tag_length] == clear
    opened = open_mode10(CIPHER, address, counter, AAD10, payload, encrypted=len(data), tag_length=tag_length)
    assert opened == data + clear


@pytest.mark.parametrize("bit", range(8 * (6 + 5 + 8)))
def test_mode10_finds_every_changed_bit_also_in_clear_octets(bit):
    payload = bytearray(seal_mode10(CIPHER, ADDRESS, 7, AAD10, b"secret", clear=b"clear"))
    payload[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationFailed) as caught:
        open_mode10(CIPHER, ADDRESS, 7, AAD10, bytes(payload), encrypted=6)
    assert caught.value.code == "key.mismatch.tag"


@pytest.mark.parametrize(("address", "counter"), [(ADDRESS[::-1], 7), (ADDRESS, 8)])
def test_mode10_binds_address_and_counter(address, counter):
    payload = seal_mode10(CIPHER, ADDRESS, 7, AAD10, b"secret")
    with pytest.raises(AuthenticationFailed):
        open_mode10(CIPHER, address, counter, AAD10, payload)


def test_mode10_counts_most_significant_octet_first():
    assert mode10_nonce(ADDRESS, 0x01020304).hex() == ADDRESS.hex() + "0001020304"


def test_mode10_refusals():
    with pytest.raises(Truncated) as caught:
        open_mode10(CIPHER, ADDRESS, 7, AAD10, bytes(7))
    assert caught.value.code == "security.length"
    with pytest.raises(Truncated):
        open_mode10(CIPHER, ADDRESS, 7, AAD10, bytes(20), encrypted=13)
    for counter in (-1, 1 << 32):
        with pytest.raises(OutOfRange, match="counter"):
            mode10_nonce(ADDRESS, counter)
    with pytest.raises(OutOfRange):
        mode10_nonce(ADDRESS[1:], 0)
    for configuration, extension in ((b"\x11", b"\x10\x01"), (b"\x11\x2a", b"\x10")):
        with pytest.raises(OutOfRange, match="2 octets"):
            mode10_aad(0x7A, 0, 0, configuration, extension)
    for fields in ((256, 0, 0), (0x7A, -1, 0), (0x7A, 0, 256)):
        with pytest.raises(OutOfRange):
            mode10_aad(*fields, b"\x11\x2a", b"\x10\x01")


# -- mode 9 ------------------------------------------------------------------------------------


@given(addresses, counters, st.binary(max_size=40), st.binary(max_size=40))
def test_mode9_round_trip(address, counter, data, clear):
    sealed = seal_mode9(CIPHER, address, counter, b"\x01\x29", data, clear=clear)
    assert len(sealed) == len(data) + 12
    assert open_mode9(CIPHER, address, counter, b"\x01\x29", sealed, clear=clear) == data


def test_mode9_parts():
    assert mode9_nonce(ADDRESS, 0x01020304).hex() == "78563412" + "9315" + "3303" + "01020304"
    assert mode9_aad(b"\x01\x29", 5, b"abc") == b"\x01\x29\x03\x05abc"


@pytest.mark.parametrize(
    "change",
    [
        {"configuration": b"\x00\x29"},
        {"counter": 8},
        {"clear": b"x"},
        {"address": ADDRESS[::-1]},
    ],
)
def test_mode9_authenticates_everything(change):
    given_ = {"address": ADDRESS, "counter": 7, "configuration": b"\x01\x29", "clear": b""}
    sealed = seal_mode9(CIPHER, ADDRESS, 7, b"\x01\x29", b"data")
    changed = given_ | change
    with pytest.raises(AuthenticationFailed):
        open_mode9(CIPHER, changed["address"], changed["counter"], changed["configuration"], sealed, clear=changed["clear"])


def test_mode9_refusals():
    with pytest.raises(Truncated):
        open_mode9(CIPHER, ADDRESS, 7, b"\x01\x29", bytes(11))
    with pytest.raises(OutOfRange):
        seal_mode9(CIPHER, ADDRESS, 7, b"\x01\x29", bytes(256))


# -- extended link layer -----------------------------------------------------------------------


def test_counter_block_layout():
    block = ell_counter_block(ADDRESS, 0x20, b"\xd3\x7c\xac\x21")
    assert block.hex() == ADDRESS.hex() + "20" + "d37cac21" + "000000"
    assert ell_counter_block(ADDRESS, 0x32, b"\xd3\x7c\xac\x21") == block, "H and R are cleared: a repeater may set them"
    for bit in (0x80, 0x40, 0x20, 0x08, 0x04, 0x01):
        assert ell_counter_block(ADDRESS, bit, bytes(4))[8] == bit


@given(addresses, octet, st.binary(min_size=4, max_size=4), contents)
def test_ell_round_trip(address, control, session, rest):
    sealed = seal_ell(CIPHER, address, control, session, rest)
    assert len(sealed) == len(rest) + 2
    assert open_ell(CIPHER, address, control, session, sealed) == rest
    assert open_ell(CIPHER, address, control ^ 0x12, session, sealed) == rest


def test_ell_refusals():
    sealed = seal_ell(CIPHER, ADDRESS, 0x20, bytes(4), b"some payload")
    with pytest.raises(WrongKey) as caught:
        open_ell(OTHER, ADDRESS, 0x20, bytes(4), sealed)
    assert caught.value.code == "key.mismatch.crc"
    for length in (0, 1):
        with pytest.raises(Truncated) as short:
            open_ell(CIPHER, ADDRESS, 0x20, bytes(4), sealed[:length])
        assert short.value.code == "security.length"
    with pytest.raises(OutOfRange, match="session number"):
        ell_counter_block(ADDRESS, 0, bytes(3))
    with pytest.raises(OutOfRange, match="8 octets"):
        ell_counter_block(ADDRESS[1:], 0, bytes(4))


# -- AFL MAC -----------------------------------------------------------------------------------

MESSAGE = bytes.fromhex("7a75002007100102030405060708")
FIELDS = {"key_information": 0x0110, "counter": 0x00000AB3, "message_length": 0x0056}


@pytest.mark.parametrize(
    ("control", "head"),
    [
        (0x05, "05"),
        (0x25, "25b30a0000"),
        (0x45, "455600"),
        (0x15, "151001"),
        (0x75, "751001b30a00005600"),
    ],
)
def test_only_announced_fields_are_covered(control, head):
    assert afl_mac_input(control, MESSAGE, **FIELDS).hex() == head + MESSAGE.hex()


def test_policy_of_the_key_information_field():
    assert KEY_INFORMATION_IN_MAC is True
    assert afl_mac_input(0x35, MESSAGE, **FIELDS, include_key_information=False).hex() == "35b30a0000" + MESSAGE.hex()
    assert afl_mac_input(0x35, MESSAGE, counter=0xAB3, include_key_information=False)[1:5] == b"\xb3\x0a\0\0"


@pytest.mark.parametrize("missing", ["key_information", "counter", "message_length"])
def test_an_announced_field_must_be_there(missing):
    with pytest.raises(DecodeError) as caught:
        afl_mac_input(0x75, MESSAGE, **{name: value for name, value in FIELDS.items() if name != missing})
    assert (caught.value.code, caught.value.layer) == ("afl.field_missing", "afl")


@pytest.mark.parametrize(("field", "value"), [("key_information", 1 << 16), ("counter", 1 << 32), ("message_length", -1)])
def test_fields_out_of_range(field, value):
    with pytest.raises(OutOfRange) as caught:
        afl_mac(CIPHER, 0x75, MESSAGE, **(FIELDS | {field: value}))
    assert caught.value.value == value


def test_message_control_out_of_range():
    with pytest.raises(OutOfRange):
        afl_mac_input(0x105, MESSAGE, counter=1)


@pytest.mark.parametrize(("kind", "length"), [(0, 0), (3, 2), (4, 4), (5, 8), (6, 12), (7, 16)])
def test_lengths_of_the_authentication_types(kind, length):
    assert afl_mac_length(0x20 | kind) == length
    mac = afl_mac(CIPHER, 0x20 | kind, MESSAGE, counter=9)
    assert mac == CIPHER.cmac(afl_mac_input(0x20 | kind, MESSAGE, counter=9))[:length]
    if length:
        check_afl_mac(CIPHER, mac, 0x20 | kind, MESSAGE, counter=9)


@pytest.mark.parametrize("kind", [1, 2, 8, 9, 10, 15])
def test_other_authentication_types_are_not_checked(kind):
    with pytest.raises(UnsupportedSecurity) as caught:
        check_afl_mac(CIPHER, bytes(12), 0x20 | kind, MESSAGE, counter=9)
    assert (caught.value.code, caught.value.layer) == ("security.unsupported", "afl")
    assert ("GMAC" in caught.value.message) == (kind in (8, 9))


@pytest.mark.parametrize("mac", [b"", bytes(7), bytes(9), bytes(16)])
def test_a_mac_of_another_length_never_passes(mac):
    with pytest.raises(AuthenticationFailed) as caught:
        check_afl_mac(CIPHER, mac, 0x25, MESSAGE, counter=9)
    assert caught.value.code == "key.mismatch.mac"


def test_no_mac_is_no_authentication():
    with pytest.raises(AuthenticationFailed):
        check_afl_mac(CIPHER, b"", 0x20, MESSAGE, counter=9)


@pytest.mark.parametrize("bit", range(8 * len(MESSAGE)))
def test_every_changed_bit_of_the_message_is_found(bit):
    mac = afl_mac(CIPHER, 0x25, MESSAGE, counter=9)
    changed = bytearray(MESSAGE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuthenticationFailed) as caught:
        check_afl_mac(CIPHER, mac, 0x25, bytes(changed), counter=9)
    assert caught.value.code == "key.mismatch.mac"


@pytest.mark.parametrize("kind", [3, 4, 5, 6, 7])
def test_every_changed_bit_of_the_mac_is_found(kind):
    control = 0x20 | kind
    mac = afl_mac(CIPHER, control, MESSAGE, counter=9)
    for bit in range(8 * len(mac)):
        changed = bytearray(mac)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(AuthenticationFailed):
            check_afl_mac(CIPHER, bytes(changed), control, MESSAGE, counter=9)


@pytest.mark.parametrize("bit", range(32))
def test_every_changed_bit_of_the_counter_is_found(bit):
    mac = afl_mac(CIPHER, 0x25, MESSAGE, counter=9)
    with pytest.raises(AuthenticationFailed):
        check_afl_mac(CIPHER, mac, 0x25, MESSAGE, counter=9 ^ 1 << bit)


def test_the_other_reading_is_named_and_not_accepted():
    for policy in (True, False):
        mac = afl_mac(CIPHER, 0x75, MESSAGE, **FIELDS, include_key_information=policy)
        check_afl_mac(CIPHER, mac, 0x75, MESSAGE, **FIELDS, include_key_information=policy)
        with pytest.raises(AuthenticationFailed, match="other reading of the key information"):
            check_afl_mac(CIPHER, mac, 0x75, MESSAGE, **FIELDS, include_key_information=not policy)
    with pytest.raises(AuthenticationFailed) as caught:
        check_afl_mac(OTHER, mac, 0x75, MESSAGE, **FIELDS)
    assert "other reading" not in caught.value.message
    with pytest.raises(AuthenticationFailed) as bare:
        check_afl_mac(OTHER, mac, 0x75, MESSAGE, counter=1, message_length=2, include_key_information=False)
    assert "other reading" not in bare.value.message
