"""Kamstrup KEM and KEM2 files: the keys of a delivery, encrypted with the customer's password.

A download is named ``*.zip.kem`` or ``*.zip.kem2`` and is a ZIP file; in it lie the schema (``*.xsd``) and
the data (``*.kem``): XML Encryption, ``EncryptedData`` with one base64 ``CipherValue`` under AES-128-CBC.
What it hides is XML again: ``MetersInOrder`` with a ``Meter`` each (KEM), or ``Devices`` with a ``Device``
each (KEM2, signed in addition). The data encryption key (DEK) is the communication key of the radio.

Source: Kamstrup 55123205 B1 EN 09.2021 (how to decrypt a KEM or KEM2 file) for container and algorithm;
W3C XML Encryption for ``EncryptedData``. Secondary sources only [S], each in one place of this file:
the password as key and initialisation vector (``_cipher``), element names (the tables below), and that the
serial number before its first slash is the identification number on air (``_number``).
The signature of KEM2 is not verified; the CRC of the ZIP file and readable XML are all that is checked.
"""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
import zlib
from contextlib import suppress
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from openmetering.errors import InputError
from openmetering.security.aes import BLOCK, BlockCipher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Final, NoReturn
    from xml.etree.ElementTree import Element

__all__ = ["KemRow", "is_kem", "is_zip", "locked", "read_kem"]

#: where in the file, and the columns address, key, label. It holds a key: do not print it.
KemRow = tuple[str, tuple[str, str, str]]

_ZIP: Final = b"PK\x03\x04"
_LIMIT: Final = 64 * 1024 * 1024  # octets of XML; a delivery of 100 000 meters has about 50 MB
_MEMBERS: Final = (".kem", ".kem2", ".xml")

# names without namespace in lower case, the best first [S]
_DEVICES: Final = ("meter", "device")
_SERIAL: Final = ("serialno", "serialnumber", "meterno", "customerdevicenumber")
_CUSTOMER: Final = ("meterno", "customerdevicenumber")
_LABELS: Final = (("metername", "shortname"), ("typeno", "typenumber"))
_KEY: Final = "dek"
_ROOTS: Final = ("metersinorder", "devices")


def is_zip(data: bytes) -> bool:
    """True for a ZIP file."""
    return data.startswith(_ZIP)


def is_kem(data: bytes) -> bool:
    """True for what ``read_kem`` should be given: a ZIP file or XML."""
    head = data[:256].replace(b"\0", b"").lstrip(b"\xef\xbb\xbf\xfe\xff \t\r\n")
    return is_zip(data) or head.startswith(b"<")


def locked(data: bytes) -> bool:
    """True if a password is needed. Raises InputError (``keyfile.format``)."""
    if is_zip(data) and any(member.flag_bits & 1 for member in _archive(data).infolist()):
        return True
    return _cipher_value(_parse(_unzip(data, None))) is not None


def read_kem(data: bytes, password: str | None = None) -> tuple[list[KemRow], list[str]]:
    """Read a KEM or KEM2 file, zipped or not, encrypted or already opened: rows and notes.

    Raises InputError (``keyfile.format``, ``keyfile.password``)
    """
    root = _parse(_unzip(data, password))
    sealed = _cipher_value(root)
    notes = []
    if any(_name(element) == "signature" for element in root.iter()):
        notes.append("the file is signed; the signature was not verified")
    if sealed is not None:
        root = _open(sealed, password)
    if _name(root) not in _ROOTS:
        _refuse("this XML is no key file: expected EncryptedData, MetersInOrder or Devices")
    rows, remarks = _rows(root)
    return rows, notes + remarks


# -- container ----------------------------------------------------------------------------


def _archive(data: bytes) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(data))
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        _refuse("the ZIP file is damaged; download it again")


def _unzip(data: bytes, password: str | None) -> bytes:
    """The octets of the XML file, out of the ZIP file if it is one."""
    if not is_zip(data):
        return data
    archive = _archive(data)
    found = [m for ending in _MEMBERS for m in archive.infolist() if m.filename.lower().endswith(ending)]
    if len(found) != 1:
        _refuse(f"a ZIP file of keys holds one .kem file, this one {len(found) or 'none'}")
    member = found[0]
    if member.flag_bits & 1 and not password:
        _need_password()
    try:
        with archive.open(member, pwd=password.encode() if password else None) as file:
            content = file.read(_LIMIT + 1)
    except RuntimeError as error:  # zipfile: wrong password; NotImplementedError is one, too
        if isinstance(error, NotImplementedError):
            _refuse("the compression of the ZIP file is unknown; unpack it with another program first")
        _wrong_password()
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError):
        if member.flag_bits & 1:
            _wrong_password()
        _refuse("the ZIP file is damaged; download it again")
    if len(content) > _LIMIT:
        _refuse(f"the file in the ZIP file has more than {_LIMIT >> 20} MiB")
    return content


# -- XML ----------------------------------------------------------------------------------


class _Builder(ElementTree.TreeBuilder):
    """Refuses a document type, and with it every entity that could grow."""

    def doctype(self, name: str, pubid: str, system: str) -> None:
        _refuse("the XML declares a document type; key files have none")


def _parse(octets: bytes) -> Element:
    """Raises InputError."""
    parser = ElementTree.XMLParser(target=_Builder())
    try:
        parser.feed(octets)
        root: Element = parser.close()
    except (ElementTree.ParseError, LookupError, ValueError) as error:
        line = getattr(error, "position", (0, 0))[0]
        _refuse(f"the XML is damaged in line {line}")
    return root


def _name(element: Element) -> str:
    """Name without namespace, lower case."""
    return str(element.tag).rpartition("}")[2].lower()


def _text(element: Element, names: Iterable[str]) -> str:
    """The text of the first descendant with one of the names, the first name first."""
    for name in names:
        for child in element.iter():
            if _name(child) == name and child.text and child.text.strip():
                return child.text.strip()
    return ""


# -- cipher -------------------------------------------------------------------------------


def _cipher_value(root: Element) -> str | None:
    """The base64 text of the encrypted part, None if there is none. Raises InputError for another cipher."""
    value = next((element for element in root.iter() if _name(element) == "ciphervalue"), None)
    if value is None:
        return None
    for element in root.iter():
        algorithm = element.get("Algorithm", "")
        if _name(element) == "encryptionmethod" and not algorithm.lower().endswith("#aes128-cbc"):
            _refuse("the file is encrypted in another way than AES-128-CBC")
    return value.text or ""


def _cipher(password: str) -> tuple[BlockCipher, bytes]:
    """Cipher and initialisation vector of a password [S].

    The password in UTF-8, filled with zero octets to 16, is the key; the same octets are the vector.
    """
    octets = password.encode()
    if len(octets) > BLOCK:
        raise InputError(
            f"the password of a KEM file has at most {BLOCK} octets, this one {len(octets)}",
            code="keyfile.password",
            layer="input",
        )
    key = octets.ljust(BLOCK, b"\0")
    return BlockCipher(key), key


def _open(sealed: str, password: str | None) -> Element:
    """Decrypt and parse. Raises InputError."""
    if not password:
        _need_password()
    try:
        ciphertext = base64.b64decode("".join(sealed.split()), validate=True)
    except (binascii.Error, ValueError):
        _refuse("the encrypted part is no base64; the file is damaged")
    if not ciphertext or len(ciphertext) % BLOCK:
        _refuse("the encrypted part has no whole blocks of 16 octets; the file is damaged")
    cipher, vector = _cipher(password)
    for plain in _plaintexts(cipher.cbc_decrypt(ciphertext, vector)):
        with suppress(InputError):
            return _parse(plain)
    return _wrong_password()


def _plaintexts(plain: bytes) -> Iterator[bytes]:
    """What the decrypted octets may mean: with and without a vector in front, with and without padding.

    Real files carry no vector; XML Encryption puts sixteen octets of it in front, then the first
    block decrypts to noise. The last octet counts the padding, or the end is filled with zeros.
    """
    for start in (0, BLOCK):
        body = plain[start:]
        if body and 0 < body[-1] <= BLOCK:
            yield body[: -body[-1]]
        yield body[: body.rfind(b">") + 1]


# -- rows ---------------------------------------------------------------------------------


def _rows(root: Element) -> tuple[list[KemRow], list[str]]:
    """One row per device with a DEK, and what was left out."""
    rows: list[KemRow] = []
    others: set[str] = set()
    empty = 0
    devices = (element for element in root.iter() if _name(element) in _DEVICES)
    for count, device in enumerate(devices, 1):
        key, kinds = _key(device)
        others |= kinds
        serial = _text(device, _SERIAL)
        if key:
            rows.append((f"{_name(device)} {count}", (_number(serial), key, _label(device, serial))))
        else:
            empty += 1
    notes = []
    if empty:
        have, were = ("s have", "were") if empty > 1 else (" has", "was")
        notes.append(f"{empty} device{have} no data encryption key (DEK) and {were} left out")
    if others:
        notes.append(f"only data encryption keys (DEK) are read; left out: {', '.join(sorted(others))}")
    return rows, notes


def _key(device: Element) -> tuple[str, set[str]]:
    """The DEK of a device, empty without one, and the names of its other keys."""
    key = _text(device, (_KEY,))
    others: set[str] = set()
    for element in device.iter():
        if _name(element) != "key":
            continue
        kind = next((value for name, value in element.items() if name.lower() in ("type", "name")), "")
        kind = (kind or _text(element, ("type", "name", "keytype"))).strip()
        value = _text(element, ("value",)) or (element.text or "").strip()
        if not value:
            continue
        if not key and kind.lower() in ("", _KEY):
            key = value
        elif kind.lower() not in ("", _KEY):
            others.add(kind if len(kind) <= 20 else "a key with a long name")
    return key, others


def _number(serial: str) -> str:
    """The identification number on air of a serial number such as ``12345678/WW/21`` [S]; another text as it is."""
    number = serial.partition("/")[0].strip()
    return number if number.isdecimal() else serial


def _label(device: Element, serial: str) -> str:
    """Type and the customer's own number, where it is another one."""
    parts = [_text(device, names) for names in _LABELS]
    customer = _text(device, _CUSTOMER)
    return " ".join(part for part in [*parts, customer if customer not in (serial, _number(serial)) else ""] if part)


# -- refusals -----------------------------------------------------------------------------


def _refuse(message: str) -> NoReturn:
    raise InputError(message, code="keyfile.format", layer="input") from None


def _need_password() -> NoReturn:
    raise InputError("the file is encrypted and needs the password of the delivery", code="keyfile.password", layer="input")


def _wrong_password() -> NoReturn:
    raise InputError("the password does not open the file", code="keyfile.password", layer="input") from None
