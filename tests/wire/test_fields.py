"""Declared layers: compiled decode and encode against the declaration itself."""

from __future__ import annotations

from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec import afl, ell, tpl
from openmetering.errors import EncodeError, NotRepresentable, OutOfRange, Truncated
from openmetering.wire import (
    U8,
    U16,
    U24,
    U32,
    BitField,
    Bits,
    FieldLayout,
    Layer,
    Octets,
    U16Big,
    U32Big,
    When,
    layer,
)
from tests.strategies import layers
from tests.vector_files import assert_ours, assert_prefixes_raise


class Flags(BitField):
    low = Bits(0, 3)
    more = Bits(3)
    tail = Bits(6, 2)


@layer
class Mixed(Layer, frozen=True):
    """Every coding, fixed and conditional, and a field that is no coding at all."""

    layer_name = "mixed"
    flags: Annotated[Flags, U8]
    word: Annotated[int, U16]
    three: Annotated[int, U24]
    raw: Annotated[bytes, Octets(3)]
    extra: Annotated[int | None, U32, When("flags", Flags.low)] = None
    text: Annotated[bytes | None, Octets(2), When("flags", Flags.more)] = None
    small: Annotated[Flags | None, U8, When("flags", Flags.tail)] = None
    note: str = ""


@layer
class Big(Layer, frozen=True):
    layer_name = "big"
    first: Annotated[int, U16Big]
    second: Annotated[int, U32Big]
    third: Annotated[int, U8]


@layer
class BothOrders(Layer, frozen=True):
    layer_name = "both"
    little: Annotated[int, U16]
    big: Annotated[int, U16Big]


@layer
class OneOctet(Layer, frozen=True):
    layer_name = "one"
    only: Annotated[int, U8]


@layer
class ThreeBig(Layer, frozen=True):
    layer_name = "three"
    number: Annotated[int, U24]
    flags: Annotated[Flags, U16Big]


CASES = [
    ("00 0201 050403 0A0B0C", Mixed(Flags(0), 0x0102, 0x030405, b"\x0a\x0b\x0c")),
    ("01 0000 000000 000000 04030201", Mixed(Flags(1), 0, 0, bytes(3), 0x01020304)),
    ("08 FFFF FFFFFF FFFFFF 4142", Mixed(Flags(8), 0xFFFF, 0xFFFFFF, b"\xff" * 3, None, b"AB")),
    ("40 0000 000000 000000 0F", Mixed(Flags(0x40), 0, 0, bytes(3), None, None, Flags(0x0F))),
    ("CF 0000 000000 000000 01000000 4142 FF", Mixed(Flags(0xCF), 0, 0, bytes(3), 1, b"AB", Flags(0xFF))),
    ("0102 03040506 FF", Big(0x0102, 0x03040506, 255)),
    ("0102 0102", BothOrders(0x0201, 0x0102)),
    ("7F", OneOctet(127)),
    ("010203 0480", ThreeBig(0x030201, Flags(0x0480))),
]
DECLARED = [
    Mixed,
    Big,
    BothOrders,
    OneOctet,
    ThreeBig,
    ell.Short,
    ell.ShortSession,
    ell.Long,
    ell.LongSession,
    afl.Head,
    tpl.Short,
    tpl.Long,
]


@pytest.mark.parametrize(("text", "value"), CASES, ids=[text for text, _ in CASES])
def test_both_directions(text, value):
    data = bytes.fromhex(text)
    kind = type(value)
    assert kind.decode(data) == (value, len(data))
    assert value.encode() == data
    assert kind.decode(b"\xee" * 3 + data + b"\xee", 3) == (value, 3 + len(data))
    assert_prefixes_raise(kind.decode, data, kind.layer_name)


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: f"{kind.__module__.rsplit('.', 1)[-1]}.{kind.__name__}")
@given(data=st.data())
def test_declared_layers_round_trip(kind, data):
    value = data.draw(layers(kind))
    text = value.encode()
    assert kind.decode(text) == (value, len(text))
    again, end = kind.decode(b"\x00" + text, 1)
    assert (again, end) == (value, 1 + len(text))
    for row in kind.fields_of():
        found = getattr(again, row.name)
        assert found is None or row.bit_field is None or type(found) is row.bit_field


@pytest.mark.parametrize("kind", DECLARED, ids=lambda kind: f"{kind.__module__.rsplit('.', 1)[-1]}.{kind.__name__}")
@given(octets=st.binary(max_size=24), offset=st.integers(0, 24))
def test_any_octets_decode_or_raise_truncated(kind, octets, offset):
    offset = min(offset, len(octets))
    try:
        value, end = kind.decode(octets, offset)
    except Truncated as error:
        assert_ours(error, kind.layer_name, octets)
    else:
        assert value.encode() == octets[offset:end]


def test_truncated_names_what_is_missing():
    with pytest.raises(Truncated) as caught:
        Mixed.decode(bytes.fromhex("AA01 0000 000000 000000 0403"), 1)
    assert (caught.value.code, caught.value.layer, caught.value.offset) == ("frame.truncated", "mixed", 10)
    assert caught.value.message == "mixed needs 4 octets, 2 left"


@pytest.mark.parametrize(
    ("value", "field", "error"),
    [
        (OneOctet(256), "only", OutOfRange),
        (OneOctet(-1), "only", OutOfRange),
        (Big(0x10000, 0, 0), "first", OutOfRange),
        (Big(0, -1, 0), "second", OutOfRange),
        (BothOrders(0, 0x10000), "big", OutOfRange),
        (Mixed(Flags(0), 0, 0x1000000, bytes(3)), "three", OutOfRange),
        (Mixed(Flags(0), 0, 0, bytes(2)), "raw", OutOfRange),
        (Mixed(Flags(0), 0, 0, bytes(4)), "raw", OutOfRange),
        (Mixed(Flags(1), 0, 0, bytes(3)), "extra", NotRepresentable),
        (Mixed(Flags(8), 0, 0, bytes(3)), "text", NotRepresentable),
        (Mixed(Flags(0), 0, 0, bytes(3), 5), "extra", NotRepresentable),
        (Mixed(Flags(0), 0, 0, bytes(3), None, b"AB"), "text", NotRepresentable),
        (Mixed(Flags(1), 0, 0, bytes(3), 1 << 32), "extra", OutOfRange),
    ],
)
def test_encode_names_the_field(value, field, error):
    with pytest.raises(EncodeError) as caught:
        value.encode()
    assert type(caught.value) is error
    assert caught.value.field == field


def test_a_required_number_may_not_be_missing():
    with pytest.raises(NotRepresentable) as caught:
        OneOctet(None).encode()  # type: ignore[arg-type]
    assert caught.value.field == "only"


def test_the_declaration_is_readable():
    rows = Mixed.fields_of()
    assert [row.name for row in rows] == ["flags", "word", "three", "raw", "extra", "text", "small"]
    assert [row.coding.size for row in rows] == [1, 2, 3, 3, 4, 2, 1]
    assert rows[0].bit_field is Flags
    assert rows[1].bit_field is None
    assert rows[6].bit_field is Flags
    assert rows[3].coding.raw
    assert rows[0].when is None
    assert rows[4].when is not None
    assert (rows[4].when.field, rows[4].when.bits.name) == ("flags", "low")


@given(layers(Mixed))
def test_layout_covers_every_octet_once(value):
    data = value.encode()
    at = 5
    for row in value.layout(5):
        assert row.offset == at
        assert row.value == getattr(value, row.name)
        at += row.size
    assert at == 5 + len(data)


def test_layout_leaves_absent_fields_out():
    value = Mixed(Flags(8), 1, 2, b"abc", None, b"de")
    assert value.layout() == (
        FieldLayout("flags", 0, 1, 8),
        FieldLayout("word", 1, 2, 1),
        FieldLayout("three", 3, 3, 2),
        FieldLayout("raw", 6, 3, b"abc"),
        FieldLayout("text", 9, 2, b"de"),
    )


def test_a_layer_without_compilation_says_so():
    class Bare(Layer, frozen=True):
        only: Annotated[int, U8]

    with pytest.raises(TypeError, match="Bare is declared without @layer"):
        Bare.decode(b"\x00")
    with pytest.raises(TypeError, match="Bare is declared without @layer"):
        Bare(1).encode()


def test_conditional_fields_stand_behind_the_fixed_ones():
    class Wrong(Layer, frozen=True):
        flags: Annotated[Flags, U8]
        maybe: Annotated[int | None, U8, When("flags", Flags.low)]
        fixed: Annotated[int, U8]

    with pytest.raises(TypeError, match="conditional fields stand behind"):
        layer(Wrong)


def test_compiled_functions_keep_their_docstrings():
    assert Mixed.decode.__doc__ == Layer.decode.__doc__
    assert Mixed.encode.__doc__ == Layer.encode.__doc__


# -- bit fields --------------------------------------------------------------------------------


def test_bits_read_and_written_by_name():
    value = Flags.build(low=5, more=1, tail=2)
    assert value == 0b10001101
    assert (value.low, value.more, value.tail) == (5, 1, 2)
    assert value.named() == {"low": 5, "more": 1, "tail": 2}
    assert value.replace(low=0, tail=3) == 0b11001000
    assert type(value.replace(low=0)) is Flags
    assert list(Flags.bits()) == ["low", "more", "tail"]
    assert (Flags.tail.lowest, Flags.tail.width, Flags.tail.mask) == (6, 2, 0xC0)


@given(st.integers(0, 255), st.integers(0, 7))
def test_unnamed_bits_survive(raw, low):
    value = Flags(raw).replace(low=low)
    assert value & ~Flags.low.mask == raw & ~Flags.low.mask
    assert value.low == low
    assert Flags.build(raw, **Flags(raw).named()) == raw


def test_bits_of_a_base_class_come_first():
    class More(Flags):
        top = Bits(4, 2)

    assert list(More.bits()) == ["low", "more", "tail", "top"]
    assert More.build(top=3, low=1) == 0x31


@pytest.mark.parametrize("named", [{"low": 8}, {"low": -1}, {"more": 2}, {"tail": 4}])
def test_a_number_that_does_not_fit_its_bits(named):
    with pytest.raises(OutOfRange) as caught:
        Flags.build(0, **named)
    assert caught.value.field == next(iter(named))


def test_unknown_bits_are_named():
    with pytest.raises(NotRepresentable, match="Flags has no bits named colour") as caught:
        Flags.build(colour=1)
    assert caught.value.field == "colour"


def test_repr_shows_what_is_set():
    assert repr(Flags(0)) == "Flags(0x0)"
    assert repr(Flags.build(low=2, more=1)) == "Flags(0xa: low=2, more=1)"
