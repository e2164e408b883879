"""KEM and KEM2: container, cipher, XML. The files are made here, in the layout that the source describes."""

from __future__ import annotations

import base64
import io
import struct
import zipfile
import zlib

import pytest

from openmetering.errors import InputError
from openmetering.security.aes import BlockCipher
from openmetering.services.kem import is_kem, is_zip, locked, read_kem

KEY = "000102030405060708090A0B0C0D0E0F"
OTHER = "A0A1A2A3A4A5A6A7A8A9AAABACADAEAF"
PASSWORD = "12345"

METERS = f"""<?xml version="1.0" encoding="utf-8"?>
<MetersInOrder orderid="1" schemaVersion="2.0">
  <Meter>
    <MeterName>MC21</MeterName><MeterNo>76348822</MeterNo><SerialNo>76348822</SerialNo>
    <TypeNo>02146C0K879</TypeNo><ConfigNo></ConfigNo><VendorId>KAM</VendorId>
    <ConsumptionType>VolumeCold</ConsumptionType><EncKeys><DEK>{KEY}</DEK></EncKeys>
  </Meter>
  <Meter>
    <MeterName>MC603</MeterName><MeterNo>Flat 7</MeterNo><SerialNo>67051489/WW/19</SerialNo>
    <TypeNo /><EncKeys><DEK>{OTHER}</DEK></EncKeys>
  </Meter>
  <Meter><MeterName>MC302</MeterName><SerialNo>11111111</SerialNo><EncKeys><DEK /></EncKeys></Meter>
</MetersInOrder>"""

DEVICES = f"""<?xml version="1.0" encoding="utf-8"?>
<Devices xmlns="urn:example">
  <Device>
    <DeviceId><SerialNumber>23541719</SerialNumber><ManufacturerId>KAM</ManufacturerId></DeviceId>
    <ShortName>KWM2210</ShortName><TypeNumber>02-K</TypeNumber><CustomerDeviceNumber>C-1</CustomerDeviceNumber>
    <Keys>
      <Key Type="GPK60"><Value>{OTHER}</Value></Key>
      <Key Type="DEK"><Value>{KEY}</Value></Key>
    </Keys>
  </Device>
  <Device><SerialNumber>23541720</SerialNumber><Keys><Key><Value>{OTHER}</Value></Key></Keys></Device>
  <Device><SerialNumber>23541721</SerialNumber><Keys><Key><Type>GPK61</Type><Value>{OTHER}</Value></Key><Key/></Keys></Device>
</Devices>"""


def fill(octets: bytes, how: str) -> bytes:
    """Padding: zeros, or the W3C way with noise and a count."""
    count = 16 - len(octets) % 16
    if how == "zeros":
        return octets + bytes(count % 16)
    return octets + b">" * (count - 1) + bytes((count,))


def seal(
    text: str, password: str = PASSWORD, *, padding: str = "zeros", vector: bytes = b"", method: str = "aes128-cbc"
) -> bytes:
    """An encrypted KEM file. ``vector`` is put in front as XML Encryption says; without it the key is the vector."""
    key = password.encode().ljust(16, b"\0")
    ciphertext = vector + BlockCipher(key).cbc_encrypt(fill(text.encode(), padding), vector or key)
    value = base64.encodebytes(ciphertext).decode()
    space = "http://www.w3.org/2001/04/xmlenc#"
    return (
        f'<?xml version="1.0" encoding="utf-8"?><EncryptedData Type="{space}aes128-cbc" xmlns="{space}">'
        f'<EncryptionMethod Algorithm="{space}{method}" />'
        f"<CipherData><CipherValue>{value}</CipherValue></CipherData></EncryptedData>"
    ).encode()


def pack(content: bytes, name: str = "363A6D78.kem", **more: bytes) -> bytes:
    """A ZIP file with the schema beside the data."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("meter_information_file.xsd", "<schema/>")
        archive.writestr(name, content)
        for other, octets in more.items():
            archive.writestr(other, octets)
    return out.getvalue()


def pack_with_password(content: bytes, password: bytes) -> bytes:
    """A ZIP file with one stored member under the traditional ZIP encryption (PKWARE APPNOTE 6.1)."""
    keys = [0x12345678, 0x23456789, 0x34567890]

    def step(octet: int) -> None:
        keys[0] = zlib.crc32(bytes((octet,)), keys[0] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF
        keys[1] = ((keys[1] + (keys[0] & 0xFF)) * 134775813 + 1) & 0xFFFFFFFF
        keys[2] = zlib.crc32(bytes((keys[1] >> 24,)), keys[2] ^ 0xFFFFFFFF) ^ 0xFFFFFFFF

    for octet in password:
        step(octet)
    crc = zlib.crc32(content)
    sealed = bytearray()
    for octet in bytes(11) + bytes((crc >> 24,)) + content:
        mixed = keys[2] | 2
        sealed.append(octet ^ (mixed * (mixed ^ 1) >> 8 & 0xFF))
        step(octet)
    name = b"a.kem"
    common = struct.pack("<HHHHHIIIHH", 20, 1, 0, 0, 0x21, crc, len(sealed), len(content), len(name), 0)
    local = b"PK\3\4" + common + name + bytes(sealed)
    central = b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0) + name
    end = b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central), len(local), 0)
    return local + central + end


FIRST = ("meter 1", ("76348822", KEY, "MC21 02146C0K879"))
SECOND = ("meter 2", ("67051489", OTHER, "MC603 Flat 7"))


@pytest.mark.parametrize("padding", ["zeros", "w3c"])
@pytest.mark.parametrize("vector", [b"", bytes(range(50, 66))], ids=["key-as-vector", "vector-in-front"])
@pytest.mark.parametrize(
    "container", [lambda octets: octets, pack, lambda octets: pack(octets, "x.KEM2")], ids=["xml", "kem", "kem2"]
)
def test_meters(padding, vector, container):
    data = container(seal(METERS, padding=padding, vector=vector))
    assert is_kem(data)
    assert locked(data)
    rows, notes = read_kem(data, PASSWORD)
    assert rows == [FIRST, SECOND]
    assert notes == ["1 device has no data encryption key (DEK) and was left out"]


def test_padding_that_looks_like_xml_is_cut():
    """The filling octets of the test are ``>``: only the count tells them from the document."""
    text = METERS + " " * 3
    assert (16 - len(text.encode()) % 16) > 2
    assert read_kem(seal(text, padding="w3c"), PASSWORD)[0] == [FIRST, SECOND]


def test_devices():
    rows, notes = read_kem(pack(seal(DEVICES)), PASSWORD)
    assert rows == [("device 1", ("23541719", KEY, "KWM2210 02-K C-1")), ("device 2", ("23541720", OTHER, ""))]
    assert notes == [
        "1 device has no data encryption key (DEK) and was left out",
        "only data encryption keys (DEK) are read; left out: GPK60, GPK61",
    ]


def test_several_devices_without_key_and_a_long_type():
    device = f"<Device><Key Type='{'X' * 40}'><Value>{KEY}</Value></Key></Device>"
    text = f"<Devices>{device}<Device/></Devices>"
    rows, notes = read_kem(text.encode())
    assert rows == []
    assert notes == [
        "2 devices have no data encryption key (DEK) and were left out",
        "only data encryption keys (DEK) are read; left out: a key with a long name",
    ]


def test_key_as_text_and_as_attribute_name():
    keys = f'<Key name="dek">{KEY}</Key><Key>{OTHER}</Key>'
    text = f"<Devices><Device><SerialNumber>1</SerialNumber>{keys}</Device></Devices>"
    assert read_kem(text.encode())[0] == [("device 1", ("1", KEY, ""))]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_already_opened(encoding):
    data = METERS.replace("utf-8", encoding.removesuffix("-sig")).encode(encoding)
    assert is_kem(data)
    assert not locked(data)
    assert read_kem(data)[0] == [FIRST, SECOND]


def test_signed_file_is_read_and_said_to_be_unverified():
    data = METERS.replace("</MetersInOrder>", "<Signature><SignatureValue>AA==</SignatureValue></Signature></MetersInOrder>")
    assert "the file is signed; the signature was not verified" in read_kem(data.encode())[1]


@pytest.mark.parametrize("octets", [b"", b"12345678;00", b"address,key", b"PK", b"\xff\xfea\0"])
def test_others_are_no_kem(octets):
    assert not is_kem(octets)
    assert not is_zip(octets)


def refused(data: bytes, password: str | None = PASSWORD) -> InputError:
    with pytest.raises(InputError) as caught:
        read_kem(data, password)
    assert KEY not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.layer == "input"
    return caught.value


@pytest.mark.parametrize("password", ["1234", "wrong", "0123456789abcdef"])
def test_wrong_password(password):
    error = refused(pack(seal(METERS)), password)
    assert error.code == "keyfile.password"
    assert "does not open" in error.message


@pytest.mark.parametrize("password", [None, ""])
def test_no_password(password):
    assert refused(seal(METERS), password).code == "keyfile.password"


def test_password_of_sixteen_octets_and_beyond():
    assert read_kem(seal(METERS, "0123456789abcdef"), "0123456789abcdef")[0] == [FIRST, SECOND]
    error = refused(seal(METERS), "0123456789abcdefg")
    assert (error.code, "at most 16 octets" in error.message) == ("keyfile.password", True)


def test_password_beyond_ascii():
    assert read_kem(seal(METERS, "påss"), "påss")[0] == [FIRST, SECOND]


DAMAGED = {
    "other cipher": (seal(METERS, method="aes256-cbc"), "another way than AES-128-CBC"),
    "no base64": (b"<E><CipherValue>!!!!</CipherValue></E>", "no base64"),
    "half a block": (b"<E><CipherValue>AAAA</CipherValue></E>", "whole blocks"),
    "nothing encrypted": (b"<E><CipherValue/></E>", "whole blocks"),
    "other xml": (b"<html></html>", "no key file"),
    "other xml inside": (seal("<html></html>"), "no key file"),
    "xml cut": (METERS.encode()[:300], "damaged in line"),
    "unknown encoding": (b'<?xml version="1.0" encoding="latin-99"?><a/>', "damaged"),
    "document type": (b'<!DOCTYPE a [<!ENTITY b "c">]><MetersInOrder>&b;</MetersInOrder>', "document type"),
    "document type in utf-16": (
        '<!DOCTYPE a [<!ENTITY b "c">]><MetersInOrder>&b;</MetersInOrder>'.encode("utf-16"),
        "document type",
    ),
    "zip cut": (pack(seal(METERS))[:200], "damaged"),
    "zip without data": (pack(b"", "readme.txt"), "this one none"),
    "zip with two": (pack(seal(METERS), **{"b.kem": b""}), "this one 2"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged(name):
    data, words = DAMAGED[name]
    error = refused(data)
    assert error.code == "keyfile.format"
    assert words in error.message


def test_damaged_member_of_the_zip_file():
    whole = pack(seal(METERS))
    start = whole.index(b"363A6D78.kem") + 40
    assert refused(whole[:start] + b"\0" * 60 + whole[start + 60 :]).code == "keyfile.format"


def test_unknown_compression():
    whole = bytearray(pack(seal(METERS)))
    for mark, at in ((b"PK\3\4", 8), (b"PK\1\2", 10)):
        place = whole.rindex(mark) + at
        whole[place : place + 2] = b"\x63\0"
    assert "compression" in refused(bytes(whole)).message


def test_zip_bomb_is_refused(monkeypatch):
    monkeypatch.setattr("openmetering.services.kem._LIMIT", 1 << 20)
    assert "more than 1 MiB" in refused(pack(b" " * (1 << 20) + b"<")).message


def test_entities_never_grow():
    levels = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    bomb = f'<!DOCTYPE a [<!ENTITY e0 "x">{levels}]><MetersInOrder>&e9;</MetersInOrder>'
    assert "document type" in refused(bomb.encode()).message


def test_zip_password():
    data = pack_with_password(METERS.encode(), PASSWORD.encode())
    assert locked(data)
    assert read_kem(data, PASSWORD)[0] == [FIRST, SECOND]
    assert refused(data, None).code == "keyfile.password"
    assert refused(data, "54321").code == "keyfile.password"


def test_zip_password_check_octet_is_no_proof():
    """One in 256 wrong passwords passes the check octet of ZIP; the CRC then tells."""
    data = pack_with_password(METERS.encode(), b"secret")
    passing = [str(guess) for guess in range(2000) if passes_check_octet(data, str(guess).encode())]
    assert passing
    for guess in passing:
        assert refused(data, guess).code == "keyfile.password"


def passes_check_octet(data: bytes, password: bytes) -> bool:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        try:
            archive.open("a.kem", pwd=password).close()
        except RuntimeError:
            return False
    return True


def test_locked_refuses_what_is_damaged():
    with pytest.raises(InputError):
        locked(b"PK\3\4 and nothing more")
