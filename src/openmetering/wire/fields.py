"""One declaration per layer, compiled into straight-line decode and encode.

A layer is a frozen ``msgspec`` struct whose annotations name the coding of each
field. ``@layer`` reads them once and writes two functions (as attrs does)::

    @layer
    class AuthenticationHeader(Layer, frozen=True):
        length:          Annotated[int, U8]
        fragmentation:   Annotated[FragmentationControl, U16]
        message_control: Annotated[int | None, U8, When("fragmentation", FragmentationControl.control_present)] = None

The same list makes the documentation tables, the ``explain`` view (``layout``) and the
Hypothesis strategies of the tests (``fields_of``). Multi-octet integers are little endian
unless the coding ends in ``Big``.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Final, Self, TypeVar, get_args, get_origin, get_type_hints

import msgspec

from openmetering.errors import NotRepresentable, OutOfRange, Truncated

__all__ = [
    "U8",
    "U16",
    "U24",
    "U32",
    "BitField",
    "Bits",
    "FieldLayout",
    "Layer",
    "LayerField",
    "Octets",
    "U16Big",
    "U32Big",
    "When",
    "layer",
]


class Bits:
    """One named run of bits in a ``BitField``: lowest bit and width."""

    __slots__ = ("lowest", "mask", "name", "width")

    def __init__(self, lowest: int, width: int = 1) -> None:
        self.lowest = lowest
        self.width = width
        self.mask = ((1 << width) - 1) << lowest
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: BitField | None, owner: type) -> Any:
        if instance is None:
            return self
        return (int(instance) & self.mask) >> self.lowest


class BitField(int):
    """An integer whose bits have names; unnamed bits survive a round trip."""

    __slots__ = ()

    @classmethod
    def bits(cls) -> dict[str, Bits]:
        """Name -> Bits in the order of declaration."""
        return {name: item for base in reversed(cls.__mro__) for name, item in vars(base).items() if isinstance(item, Bits)}

    @classmethod
    def build(cls, value: int = 0, /, **named: int) -> Self:
        """Make a value from named bits on top of ``value``.

        Raises OutOfRange if a number does not fit its bits, NotRepresentable for an unknown name.
        """
        known = cls.bits()
        for name, number in named.items():
            item = known.get(name)
            if item is None:
                raise NotRepresentable(f"{cls.__name__} has no bits named {name}", field=name, value=number)
            if not 0 <= number < 1 << item.width:
                raise OutOfRange(f"{name} takes {item.width} bits, got {number}", field=name, value=number)
            value = value & ~item.mask | number << item.lowest
        return cls(value)

    def replace(self, **named: int) -> Self:
        """The same value with some named bits changed."""
        return type(self).build(int(self), **named)

    def named(self) -> dict[str, int]:
        """All named bits as a mapping."""
        return {name: getattr(self, name) for name in self.bits()}

    def __repr__(self) -> str:
        inner = ", ".join(f"{name}={value}" for name, value in self.named().items() if value)
        return f"{type(self).__name__}({int(self):#x}{': ' if inner else ''}{inner})"


class Coding(msgspec.Struct, frozen=True):
    """How a field stands on the wire: size in octets and byte order."""

    size: int
    order: str = "little"
    raw: bool = False


U8: Final = Coding(1)
U16: Final = Coding(2)
U24: Final = Coding(3)
U32: Final = Coding(4)
U16Big: Final = Coding(2, "big")
U32Big: Final = Coding(4, "big")


def Octets(size: int) -> Coding:  # noqa: N802 - reads as a coding beside U8, U16
    """A run of octets kept as ``bytes``."""
    return Coding(size, "little", raw=True)


class When:
    """A field is present only if the named bits of an earlier field are not zero."""

    __slots__ = ("bits", "field")

    def __init__(self, field: str, bits: Bits) -> None:
        self.field = field
        self.bits = bits


class LayerField(msgspec.Struct, frozen=True):
    """One row of a layer declaration."""

    name: str
    coding: Coding
    bit_field: type[BitField] | None
    when: When | None


class FieldLayout(msgspec.Struct, frozen=True):
    """Where one field of a decoded layer stands: offset and size in octets."""

    name: str
    offset: int
    size: int
    value: int | bytes | None


class Layer(msgspec.Struct, frozen=True):
    """Base of all declared layers; ``@layer`` fills in ``decode`` and ``encode``."""

    layer_name: ClassVar[str] = "layer"

    @classmethod
    def decode(cls, octets: bytes, offset: int = 0) -> tuple[Self, int]:
        """Read the layer at ``offset``; return it with the offset behind it. Raises Truncated."""
        raise TypeError(f"{cls.__name__} is declared without @layer")

    def encode(self) -> bytes:
        """Return the octets of the layer. Raises OutOfRange or NotRepresentable."""
        raise TypeError(f"{type(self).__name__} is declared without @layer")

    @classmethod
    def fields_of(cls) -> tuple[LayerField, ...]:
        """The declaration as rows."""
        return _DECLARATIONS[cls]

    def layout(self, offset: int = 0) -> tuple[FieldLayout, ...]:
        """Offset, size and value of every field that is present, counted from ``offset``."""
        rows = []
        for field in self.fields_of():
            value = getattr(self, field.name)
            if value is None:
                continue
            rows.append(FieldLayout(field.name, offset, field.coding.size, value))
            offset += field.coding.size
        return tuple(rows)


_DECLARATIONS: dict[type[Layer], tuple[LayerField, ...]] = {}
_FORMAT = {(1, "little"): "B", (2, "little"): "H", (4, "little"): "I", (2, "big"): "H", (4, "big"): "I"}

L = TypeVar("L", bound=Layer)


def _declaration(cls: type[Layer]) -> tuple[LayerField, ...]:
    rows = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        if get_origin(hint) is not Annotated:
            continue
        kind, *notes = get_args(hint)
        coding = next(note for note in notes if isinstance(note, Coding))
        when = next((note for note in notes if isinstance(note, When)), None)
        kinds = get_args(kind) or (kind,)
        bit_field = next((item for item in kinds if isinstance(item, type) and issubclass(item, BitField)), None)
        rows.append(LayerField(name, coding, bit_field, when))
    return tuple(rows)


def _read(field: LayerField, at: str) -> str:
    size = field.coding.size
    if size == 1 and not field.coding.raw:
        text = f"octets[{at}]"
    elif field.coding.raw:
        text = f"octets[{at}:{at} + {size}]"
    else:
        text = f"from_bytes(octets[{at}:{at} + {size}], '{field.coding.order}')"
    return f"{field.name}_type({text})" if field.bit_field else text


def _decode_source(rows: tuple[LayerField, ...]) -> str:
    fixed = [row for row in rows if row.when is None]
    if rows[: len(fixed)] != tuple(fixed):
        raise TypeError("conditional fields stand behind the fixed ones")
    size = sum(row.coding.size for row in fixed)
    lines = [
        "def decode(octets, offset=0):",
        "    end = len(octets)",
        f"    if end - offset < {size}:",
        f"        raise short(octets, offset, {size})",
    ]
    position = 0
    for row in fixed:
        lines.append(f"    {row.name} = {_read(row, f'offset + {position}' if position else 'offset')}")
        position += row.coding.size
    lines.append(f"    offset += {size}")
    for row in rows[len(fixed) :]:
        assert row.when is not None
        lines += [
            f"    if {row.when.field} & {row.when.bits.mask}:",
            f"        if end - offset < {row.coding.size}:",
            f"            raise short(octets, offset, {row.coding.size})",
            f"        {row.name} = {_read(row, 'offset')}",
            f"        offset += {row.coding.size}",
            "    else:",
            f"        {row.name} = None",
        ]
    lines.append(f"    return cls({', '.join(row.name for row in rows)}), offset")
    return "\n".join(lines)


def _write(row: LayerField) -> str:
    if row.coding.raw:
        return f"fit(self.{row.name}, {row.coding.size}, '{row.name}')"
    return f"number(self.{row.name}, {row.coding.size}, '{row.coding.order}', '{row.name}')"


def _encode_source(rows: tuple[LayerField, ...]) -> str:
    fixed = [row for row in rows if row.when is None]
    lines = ["def encode(self):"]
    plain = all((row.coding.size, row.coding.order) in _FORMAT and not row.coding.raw for row in fixed)
    one_order = len({row.coding.order for row in fixed if row.coding.size > 1}) <= 1
    if plain and one_order:
        lines += ["    try:", f"        out = pack({', '.join(f'self.{row.name}' for row in fixed)})"]
        lines += ["    except error:", f"        out = {' + '.join(_write(row) for row in fixed)}"]
    else:
        lines.append(f"    out = {' + '.join(_write(row) for row in fixed)}")
    for row in rows[len(fixed) :]:
        assert row.when is not None
        lines += [
            f"    if self.{row.when.field} & {row.when.bits.mask}:",
            f"        out += {_write(row)}",
            f"    elif self.{row.name} is not None:",
            f"        raise unflagged('{row.name}', self.{row.name})",
        ]
    lines.append("    return out")
    return "\n".join(lines)


def _number(value: int | None, size: int, order: str, name: str) -> bytes:
    if value is None:
        raise NotRepresentable(f"{name} is announced but has no value", field=name)
    try:
        return int(value).to_bytes(size, "big" if order == "big" else "little")
    except OverflowError:
        raise OutOfRange(f"{name} takes {size} octets, got {value}", field=name, value=value) from None


def _fit(value: bytes | None, size: int, name: str) -> bytes:
    if value is None:
        raise NotRepresentable(f"{name} is announced but has no value", field=name)
    if len(value) != size:
        raise OutOfRange(f"{name} takes {size} octets, got {len(value)}", field=name, value=value)
    return value


def _unflagged(name: str, value: object) -> NotRepresentable:
    return NotRepresentable(f"{name} has a value but its presence bit is not set", field=name, value=value)


def layer(cls: type[L]) -> type[L]:
    """Compile the annotations of a Layer into its ``decode`` and ``encode``."""
    rows = _declaration(cls)
    name = cls.layer_name

    def short(octets: bytes, offset: int, size: int) -> Truncated:
        left = len(octets) - offset
        return Truncated(f"{name} needs {size} octets, {left} left", layer=name, offset=offset, octets=octets)

    fixed = [row for row in rows if row.when is None]
    order = ">" if any(row.coding.order == "big" for row in fixed) else "<"
    codes = "".join(_FORMAT.get((row.coding.size, row.coding.order), "") for row in fixed)
    scope: dict[str, Any] = {
        "cls": cls,
        "short": short,
        "from_bytes": int.from_bytes,
        "pack": struct.Struct(order + codes).pack,
        "error": struct.error,
        "number": _number,
        "fit": _fit,
        "unflagged": _unflagged,
    }
    scope |= {f"{row.name}_type": row.bit_field for row in rows}
    exec(compile(_decode_source(rows), f"<decode {cls.__name__}>", "exec"), scope)
    exec(compile(_encode_source(rows), f"<encode {cls.__name__}>", "exec"), scope)
    decode: Callable[..., Any] = scope["decode"]
    encode: Callable[..., Any] = scope["encode"]
    decode.__doc__, encode.__doc__ = Layer.decode.__doc__, Layer.encode.__doc__
    setattr(cls, "decode", staticmethod(decode))  # noqa: B010 - mypy sees the base's signature
    setattr(cls, "encode", encode)  # noqa: B010
    _DECLARATIONS[cls] = rows
    return cls
