"""The layers between link and application on a canvas: the chain of CI fields, headers, encryption.

The walk reads the octets of the frame anew with the declared layers and takes from the
telegram what a key or other fragments gave: ``opened`` stages, the payload in the clear,
the fault. Source: as in the modules of ``codec``.
"""

from __future__ import annotations

from collections.abc import Callable

from openmetering.codec import afl, ell, tpl
from openmetering.codec.apl import big_endian
from openmetering.codec.link.wired import WiredFrame
from openmetering.errors import DecodeError
from openmetering.tables import CONTROL_INFORMATION, ControlInformation
from openmetering.telegram.anatomy.canvas import Canvas
from openmetering.telegram.anatomy.link import begin, finish, take_address
from openmetering.telegram.anatomy.model import PLAINTEXT, Part
from openmetering.telegram.anatomy.payload import explain_payload, takes_fixed_data
from openmetering.telegram.anatomy.words import bits_of, code, status_bits, status_words, words_of
from openmetering.telegram.model import Telegram
from openmetering.telegram.opening import encrypted_length
from openmetering.wire import BitField, FieldLayout, Layer

__all__ = ["walk"]

_BLOCK_MODES = frozenset((2, 4, 5, 7))
_TAGS = {9: ("GCM tag", 12), 10: ("CCM tag", 8)}
_PROOFS = {
    "mac": "the MAC proves key and origin",
    "tag": "the tag proves key and origin",
    "ell-crc": "the payload CRC shows that the key fits; nothing is authenticated",
    "2f2f": "the verification octets 2F 2F show that the key fits; nothing is authenticated",
    None: "nothing proves the key",
}


def walk(telegram: Telegram) -> tuple[Part, ...]:
    """All parts of a telegram: the frame, then every stage that was opened."""
    return _Walk(telegram).parts()


class _Walk:
    """One telegram on its way up, on one canvas after the other."""

    __slots__ = ("_following", "canvas", "stages", "telegram")

    def __init__(self, telegram: Telegram) -> None:
        self.telegram = telegram
        self.stages = list(telegram.opened)
        self.canvas = begin(telegram)
        self._following: tuple[Canvas, Callable[[], None], str] | None = None

    def parts(self) -> tuple[Part, ...]:
        """Walk through everything."""
        frame = self.canvas
        if self.telegram.link is not None and frame.left:
            self._chain()
        finish(frame, self.telegram)
        done = [frame.part()]
        while self._following is not None:
            self.canvas, step, note = self._following
            self._following = None
            step()
            done.append(self.canvas.part(note))
        return tuple(done)

    def _open(self, title: str, octets: bytes, step: Callable[[], None], note: str, sealed: int) -> None:
        """Go on with other octets when this canvas is finished."""
        if 0 < sealed < len(octets):
            note += f" The first {sealed} octets were encrypted."
        self._following = (Canvas(PLAINTEXT, f"{title}: {len(octets)} octets", octets, sealed=sealed), step, note)

    def _proof(self) -> str:
        report = self.telegram.security
        key = "" if report.key_id is None else f" with KeyID {code(report.key_id)}"
        return f"Decrypted{key}; {_PROOFS.get(report.proof, '')}."

    # -- the chain of CI fields -----------------------------------------------------------------

    def _chain(self) -> None:
        canvas, previous = self.canvas, ""
        while True:  # ends: no layer may follow itself
            octet = canvas.peek(1)
            info = CONTROL_INFORMATION[octet[0]] if octet else None
            if info is None or (previous and info.layer not in previous.split()):
                break
            step = _LAYERS.get(info.layer)
            if step is None:
                self._transport(info)
                return
            try:
                if not step(self, info):
                    return
            except DecodeError as fault:
                canvas.broken(fault)
                return
            previous = info.followers
        canvas.section("tpl", "Not decoded")
        canvas.broken(self.telegram.error)

    def _ci(self, info: ControlInformation, layer: str, title: str, summary: str = "", meaning: str = "") -> None:
        self.canvas.section(layer, title, summary)
        self.canvas.take(1, "CI", code(self.canvas.peek(1)[0]), meaning or info.name)

    def _fields(self, rows: tuple[FieldLayout, ...], layer: str) -> None:
        for row in rows:
            if isinstance(row.value, bytes):
                take_address(self.canvas, transport_order=layer == "tpl")
            else:
                self._number(layer, row.name, row.size, row.value or 0)

    def _number(self, layer: str, name: str, size: int, value: int) -> None:
        if (layer, name) == ("tpl", "status"):
            words, bits = status_words(value, self.telegram.uplink), status_bits(value, self.telegram.uplink)
        elif (layer, name) == ("tpl", "configuration"):
            words, bits = words_of(layer, name, value), bits_of(tpl.CONFIGURATIONS[value >> 8 & 0x1F](value))
        else:
            words, bits = words_of(layer, name, value), bits_of(value) if isinstance(value, BitField) else ()
        self.canvas.take(size, words.field, words.value, words.meaning, bits=bits, secret=words.secret)

    # -- extended link layer --------------------------------------------------------------------

    def _ell(self, info: ControlInformation) -> bool:
        canvas = self.canvas
        self._ci(info, "ell", info.name[:1].upper() + info.name[1:])
        kind = ell.KINDS.get(info.code)
        if kind is None:
            canvas.broken(self.telegram.error)
            return False
        part: Layer
        part, _ = kind.decode(canvas.octets[: canvas.end], canvas.at)
        rows = part.layout(canvas.at)
        if rows[-1].name != "payload_crc":
            self._fields(rows, "ell")
            return True
        self._fields(rows[:-1], "ell")
        return self._ell_payload(rows[-1], part)

    def _ell_payload(self, checksum: FieldLayout, part: Layer) -> bool:
        """The payload CRC and what stands behind it, encrypted or not."""
        canvas, telegram = self.canvas, self.telegram
        encrypted = bool(getattr(part, "session_number").encryption)  # noqa: B009 - both kinds with a CRC have it
        fault = telegram.error
        if not encrypted or (not self.stages and telegram.security.state == "already-plain"):
            self._fields((checksum,), "ell")
            if fault is not None and fault.code == "ell.crc":
                canvas.broken(fault)
                return False
            return True
        if self.stages:
            canvas.take(
                canvas.left, "encrypted octets", "AES-128-CTR", "opened in the part below", encrypted=True, secret="cipher"
            )
            stage = self.stages.pop(0)
            self._open("Opened by the key, behind the extended link layer", stage, self._behind_ell, self._proof(), len(stage))
        else:
            self._sealed(canvas.left, "AES-128-CTR")
        return False

    def _behind_ell(self) -> None:
        octets = self.canvas.peek(2)
        self.canvas.section("ell", "Extended link layer, opened")
        words = words_of("ell", "payload_crc", int.from_bytes(octets, "little"))
        self.canvas.take(2, words.field, words.value, f"{words.meaning}; correct", secret="check")
        self._chain()

    def _sealed(self, size: int, value: str) -> None:
        """Octets that stay encrypted, and why."""
        fault = self.telegram.error
        meaning = "not opened" if fault is None else f"not opened: {fault.message}"
        code_ = None if fault is None else fault.code
        self.canvas.take(size, "encrypted octets", value, meaning, encrypted=True, secret="cipher", fault=code_)

    # -- authentication and fragmentation, network layer ------------------------------------------

    def _afl(self, info: ControlInformation) -> bool:
        canvas = self.canvas
        self._ci(info, "afl", "Authentication and fragmentation layer")
        octets = canvas.octets[: canvas.end]
        head, _ = afl.Head.decode(octets, canvas.at)
        whole, _ = afl.decode(octets, canvas.at)
        self._fields(head.layout(canvas.at), "afl")
        if whole.mac is not None:
            canvas.take(len(whole.mac), "MAC", f"{len(whole.mac)} octets", self._mac_words(), secret="proof")
        if whole.message_length is not None:
            canvas.take(2, "message length", str(whole.message_length), "octets of the whole message, from the CI on")
        return not whole.fragmented or self._fragment(whole)

    def _mac_words(self) -> str:
        report = self.telegram.security
        return "verified: key and origin are proven" if report.proof == "mac" else "not verified"

    def _fragment(self, layer: afl.AuthenticationFragmentation) -> bool:
        canvas, number = self.canvas, int(layer.fragmentation.fragment_id)
        fault = self.telegram.error
        canvas.section("afl", f"Fragment {number} of a message")
        if self.stages:
            canvas.take_rest("part of the message", "the last fragment: the joined message stands below", secret="cipher")
            stage = self.stages.pop(0)
            note = "The fragments of the message in their order, from the CI of the transport layer on."
            self._open("The joined message", stage, self._chain, note, 0)
        elif fault is not None and fault.layer == "afl":
            canvas.broken(fault)
        else:
            canvas.take_rest("part of the message", "read when all fragments are there", secret="cipher")
        return False

    def _nwl(self, info: ControlInformation) -> bool:
        self._ci(info, "nwl", "Network layer")
        self.canvas.take_rest("octets", "the layout of EN 13757-5 is not public; the octets are kept")
        return False

    # -- transport layer --------------------------------------------------------------------------

    def _transport(self, info: ControlInformation) -> None:
        canvas, telegram = self.canvas, self.telegram
        if takes_fixed_data(info.code, isinstance(telegram.link, WiredFrame), canvas.left):
            self._ci(info, "tpl", "Transport layer", "no header", "fixed data structure of meters before 1997")
            explain_payload(canvas, telegram, info, fixed=True)
            return
        octets = canvas.octets[: canvas.end]
        if info.code == big_endian.CI:
            self._big_endian(info)
            return
        self._ci(info, "tpl", "Transport layer", f"{info.header} header" if info.header != "none" else "no header")
        try:
            header, _ = tpl.decode(octets, canvas.at, info.code, info.header)
        except DecodeError as fault:
            canvas.broken(telegram.error or fault)
            return
        if info.header != "none":
            kind = tpl.Long if info.header == "long" else tpl.Short
            part, _ = kind.decode(octets, canvas.at)
            self._fields(part.layout(canvas.at), "tpl")
            _EXTENSIONS.get(header.mode, _no_extension)(canvas, header)
        self._payload(info, header)

    def _big_endian(self, info: ControlInformation) -> None:
        """CI 76: the fields of the long header stand most significant octet first."""
        canvas = self.canvas
        self._ci(info, "tpl", "Transport layer", "long header, most significant octet first")
        if canvas.left < big_endian.HEADER_SIZE:
            canvas.broken(self.telegram.error)
            return
        take_address(canvas, transport_order=True, big_endian=True)
        for name, size in (("access_number", 1), ("status", 1), ("configuration", 2)):
            self._number("tpl", name, size, int.from_bytes(canvas.peek(size), "big"))
        if self.telegram.payload is None:
            canvas.broken(self.telegram.error)
        else:
            explain_payload(canvas, self.telegram, info)

    def _payload(self, info: ControlInformation, header: tpl.TransportHeader) -> None:
        """What stands behind the headers: in the clear here, opened in a part below, or closed."""
        canvas, telegram = self.canvas, self.telegram
        rest, payload = canvas.rest, telegram.payload
        state, profile = telegram.security.state, telegram.security.profile
        if (
            header.header == "none"
            or _nothing_encrypted(header)
            or profile == "ELL"
            or (payload == rest and state != "decrypted")
        ):
            explain_payload(canvas, telegram, info)
            return
        cipher = self._cipher(header, rest)
        if state == "decrypted" and payload is not None:
            number = len(rest) - len(payload) if header.mode == 7 else 0  # TPL padding: n octets of value n
            self._open(
                "The payload, opened by the key",
                payload + bytes((number,)) * number,
                lambda: explain_payload(self.canvas, telegram, info, padding=number),
                self._proof(),
                cipher,
            )

    def _cipher(self, header: tpl.TransportHeader, rest: bytes) -> int:
        """Ciphertext, clear octets and tag of a payload, as they stand in the frame; the octets of ciphertext."""
        canvas, telegram = self.canvas, self.telegram
        opened, fault = telegram.security.state == "decrypted", telegram.error
        cipher, clear, tag = _split(header, encrypted_length(header, len(rest)), rest)
        canvas.section("tpl", "Encrypted payload", f"security mode {header.mode}")
        if not opened and fault is not None and fault.code == "security.length":
            canvas.broken(fault)
        elif opened:
            meaning = "opened in the part below"
            canvas.take(len(cipher), "encrypted octets", f"{len(cipher)} octets", meaning, encrypted=True, secret="cipher")
        else:
            self._sealed(len(cipher), f"{len(cipher)} octets")
        meaning = "not encrypted; read in the part below" if opened else "not encrypted"
        canvas.take(len(clear), "clear octets", f"{len(clear)} octets", meaning, secret="content")
        name, _ = _TAGS.get(header.mode, ("", 0))
        meaning = "verified: key and origin are proven" if opened else "not verified"
        canvas.take(len(tag), name, f"{len(tag)} octets", meaning, secret="proof")
        canvas.take_rest("octets behind the tag", "belong to nothing")
        return len(cipher)


def _nothing_encrypted(header: tpl.TransportHeader) -> bool:
    return header.mode == 0 or (header.mode in _BLOCK_MODES and not int(header.configuration) >> 4 & 0x0F)


def _split(header: tpl.TransportHeader, size: int, rest: bytes) -> tuple[bytes, bytes, bytes]:
    """Ciphertext, clear octets, tag of a payload; everything is cipher in a mode that is not opened."""
    name, tag = _TAGS.get(header.mode, ("", 0))
    if header.mode not in _BLOCK_MODES and not name:
        return rest, b"", b""
    end = len(rest) - tag
    if header.mode == 9:
        end = min(end, size + (header.extension[1] if len(header.extension) > 1 else 0))
    end = max(end, 0)
    size = min(size, end)
    return rest[:size], rest[size:end], rest[end : end + tag]


# -- extensions of the configuration field ----------------------------------------------------------


def _no_extension(canvas: Canvas, header: tpl.TransportHeader) -> None:
    canvas.take(len(header.extension), "extension", "", "of the configuration field")


def _first(canvas: Canvas, octet: int) -> None:
    canvas.take(1, "extension", code(octet), "of the configuration field", bits=bits_of(tpl.Extension(octet)))


def _extension_7(canvas: Canvas, header: tpl.TransportHeader) -> None:
    _first(canvas, header.extension[0])


def _extension_9(canvas: Canvas, header: tpl.TransportHeader) -> None:
    extension = header.extension
    canvas.take(1, "encrypted length (LenE)", str(extension[0]), "encrypted octets")
    canvas.take(1, "clear length (LenU)", str(extension[1]), "octets behind them that are not encrypted")
    canvas.take(len(extension) - 6, "lengths, continued", "", "second octets of the lengths; their order is not public")
    canvas.take(4, "message counter", str(header.counter), "most significant octet first")


def _extension_10(canvas: Canvas, header: tpl.TransportHeader) -> None:
    extension = header.extension
    _first(canvas, extension[0])
    canvas.take(
        1, "extension, continued", code(extension[1]), "tag and content", bits=bits_of(tpl.ExtensionContent(extension[1]))
    )
    if extension[0] & 0x40:
        canvas.take(1, "KeyVersion", str(extension[2]), "version of the key")
    if header.counter is not None:
        canvas.take(4, "message counter", str(header.counter), "never repeats under a key")


def _extension_13(canvas: Canvas, header: tpl.TransportHeader) -> None:
    canvas.take(1, "extension", code(header.extension[0]), "of the configuration field; protocol of the TLS session")


_EXTENSIONS: dict[int, Callable[[Canvas, tpl.TransportHeader], None]] = {
    7: _extension_7,
    8: _extension_7,
    9: _extension_9,
    10: _extension_10,
    13: _extension_13,
}
_LAYERS: dict[str, Callable[[_Walk, ControlInformation], bool]] = {"ell": _Walk._ell, "afl": _Walk._afl, "nwl": _Walk._nwl}
