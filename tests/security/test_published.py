"""Every encrypted frame of the shared vectors opens, and seals again to the same octets.

The small splitter below knows just enough of a frame to find the encrypted part;
the real one is ``telegram``.
"""

import pytest

from openmetering.errors import AuthenticationFailed, WrongKey
from openmetering.security import (
    BlockCipher,
    afl_mac,
    check_afl_mac,
    ell_counter_block,
    mode5_iv,
    mode10_aad,
    mode10_nonce,
    open_cbc,
    open_ell,
    open_mode10,
    seal_cbc,
    seal_ell,
    seal_mode10,
    session_keys,
    tpl_strip,
)

ELL = {0x8C: 3, 0x8E: 11}
LONG = (0x5B, 0x72, 0x73, 0x6C, 0x80, 0xC3, 0x53)
WRONG = BlockCipher(bytes.fromhex("AA" * 16))


def split(vector):
    """(address of the meter, AFL octets, message) of a frame or of a reassembled message."""
    if vector["frame_format"] == "message":
        first = bytes.fromhex(vector["fragments"][0])
        address, rest = first[2:10], bytes.fromhex(vector["expected"]["message"])
    else:
        frame = bytes.fromhex(vector["hex"])
        wired = vector["frame_format"] == "FT1.2"
        address, rest = (b"", frame[6:-2]) if wired else (frame[2:10], frame[10:])
    rest = rest[ELL.get(rest[0], 0) :]
    afl = b""
    if rest[0] == 0x90:
        afl, rest = rest[2 : 2 + rest[1]], rest[2 + rest[1] :]
    if rest[0] in LONG:
        address = rest[5:7] + rest[1:5] + rest[7:9]
    return address, afl, rest


def header_length(message):
    return 13 if message[0] in LONG else 5


def wanted(vector):
    expected = vector["expected"]
    source = expected if vector["frame_format"] == "message" else expected["tpl"]
    return bytes.fromhex(source["plaintext"])


def downlink(message):
    return message[0] in (0x5B, 0x6C, 0xC3, 0x53)


def test_mode5(shared_mode5):
    address, _, message = split(shared_mode5)
    header = header_length(message)
    access, count = message[header - 4], message[header - 2] >> 4
    body = message[header:]
    size = len(body) & ~15 if count == 15 else 16 * count
    expected = shared_mode5["expected"]
    source = expected if shared_mode5["frame_format"] == "message" else expected["tpl"]
    assert mode5_iv(address, access).hex().upper() == source["iv"]
    cipher = BlockCipher(bytes.fromhex(shared_mode5["key"]))
    opened = open_cbc(5, cipher, address, access, body[:size])
    assert opened + body[size:] == wanted(shared_mode5)
    assert seal_cbc(5, cipher, address, access, opened) == body[:size]
    with pytest.raises(WrongKey):
        open_cbc(5, WRONG, address, access, body[:size])


def test_mode7(shared_mode7):
    address, afl, message = split(shared_mode7)
    expected = shared_mode7["expected"]
    master = BlockCipher(bytes.fromhex(shared_mode7["key"]))
    header = header_length(message) + 1
    if shared_mode7["frame_format"] == "message":
        prefix = bytes.fromhex(expected["mac_input_prefix"])
        control, counter, mac = prefix[0], int.from_bytes(prefix[1:5], "little"), bytes.fromhex(expected["mac"])
        length = int.from_bytes(prefix[5:7], "little")
    else:
        control, counter, mac = afl[2], int.from_bytes(afl[3:7], "little"), afl[7:]
        length = None
    keys = session_keys(master, counter, address[2:6], downlink=downlink(message))
    check_afl_mac(keys.authentication, mac, control, message, counter=counter, message_length=length)
    assert afl_mac(keys.authentication, control | 7, message, counter=counter, message_length=length) != mac
    count = message[header - 3] >> 4
    body = message[header:]
    size = len(body) & ~15 if count == 15 else 16 * count
    opened = open_cbc(7, keys.encryption, address, 0, body[:size])
    plain = opened + body[size:]
    assert plain == wanted(shared_mode7)
    if message[header - 3] & 0x08:
        assert tpl_strip(opened) + opened[-1:] * opened[-1] == opened
    assert seal_cbc(7, keys.encryption, address, 0, opened) == body[:size]
    wrong = session_keys(WRONG, counter, address[2:6], downlink=downlink(message))
    with pytest.raises(AuthenticationFailed):
        check_afl_mac(wrong.authentication, mac, control, message, counter=counter, message_length=length)
    swapped = session_keys(master, counter, address[2:6], downlink=not downlink(message))
    with pytest.raises(AuthenticationFailed):
        check_afl_mac(swapped.authentication, mac, control, message, counter=counter, message_length=length)


def test_mode10(shared_mode10):
    address, _, message = split(shared_mode10)
    expected = shared_mode10["expected"]
    source = expected if shared_mode10["frame_format"] == "message" else expected["tpl"]
    counter = int.from_bytes(message[7:11], "little")
    cipher = session_keys(BlockCipher(bytes.fromhex(shared_mode10["key"])), counter, address[2:6]).encryption
    aad = mode10_aad(message[0], message[1], message[2], message[3:5], message[5:7])
    assert aad.hex().upper() == source["aad"]
    assert mode10_nonce(address, counter).hex().upper() == source["nonce"]
    opened = open_mode10(cipher, address, counter, aad, message[11:], encrypted=message[3])
    assert opened == wanted(shared_mode10)
    cut = len(opened) if message[3] == 0xFF else message[3]
    assert seal_mode10(cipher, address, counter, aad, opened[:cut], clear=opened[cut:]) == message[11:]
    with pytest.raises(AuthenticationFailed):
        open_mode10(cipher, address, counter + 1, aad, message[11:], encrypted=message[3])


def test_mode10_downlink_is_a_proposal(shared_proposal):
    """No downlink of profile D is published [?]: nonce of the meter, additional data without the address."""
    address, _, message = split(shared_proposal)
    expected = shared_proposal["expected"]
    assert "proposal" in shared_proposal["status"]
    counter = int.from_bytes(message[15:19], "little")
    cipher = session_keys(BlockCipher(bytes.fromhex(shared_proposal["key"])), counter, address[2:6], downlink=True).encryption
    aad = mode10_aad(message[0], message[9], message[10], message[11:13], message[13:15])
    assert aad.hex().upper() == expected["aad"]
    assert mode10_nonce(address, counter).hex().upper() == expected["nonce"]
    plain = bytes.fromhex(expected["plaintext"])
    assert open_mode10(cipher, address, counter, aad, message[19:], encrypted=message[11]) == plain
    assert seal_mode10(cipher, address, counter, aad, plain) == message[19:]


def test_ell(shared_ell):
    frame = bytes.fromhex(shared_ell["hex"])
    address, control, session, body = frame[2:10], frame[11], frame[13:17], frame[17:]
    expected = shared_ell["expected"]["ell"]
    assert ell_counter_block(address, control, session).hex().upper() == expected["iv"]
    cipher = BlockCipher(bytes.fromhex(shared_ell["key"]))
    opened = open_ell(cipher, address, control, session, body)
    assert opened.hex().upper() == expected["decrypted_payload"]
    assert seal_ell(cipher, address, control, session, opened) == body
    with pytest.raises(WrongKey):
        open_ell(WRONG, address, control, session, body)
