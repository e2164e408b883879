"""Fragments to messages, telegrams to readouts: the collectors alone, without frames."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openmetering import DecodeError
from openmetering.codec.afl import AuthenticationFragmentation, KeyInformation, MessageControl
from openmetering.telegram import Readout, Reassembler
from openmetering.telegram import reassembly as module
from openmetering.telegram.reassembly import FRAGMENT_TIMEOUT, Whole

CONTROL = MessageControl.build(authentication_type=5, counter=1, length=1, key_information=1)
INFORMATION = KeyInformation.build(key_id=1, key_version=2)
PEER = b"meter"


def part(
    number: int, more: bool, *, length: int | None = None, mac: bytes | None = None, counter: int | None = None
) -> AuthenticationFragmentation:
    return AuthenticationFragmentation.build(
        fragment_id=number,
        more_fragments=more,
        message_control=CONTROL if counter is not None else None,
        key_information=INFORMATION if counter is not None else None,
        counter=counter,
        mac=mac,
        message_length=length,
    )


def code_of(reassembler: Reassembler, *arguments: object, **options: object) -> str:
    with pytest.raises(DecodeError) as caught:
        reassembler.add(*arguments, **options)  # type: ignore[arg-type]
    assert caught.value.layer == "afl"
    return caught.value.code


def test_fields_come_from_the_first_and_the_mac_from_the_last() -> None:
    reassembler = Reassembler()
    assert reassembler.add(PEER, part(1, True, length=6, counter=9), b"ab") is None
    assert reassembler.add(PEER, part(2, True), b"cd") is None
    assert len(reassembler) == 1
    whole = reassembler.add(PEER, part(3, False, mac=bytes(8)), b"ef")
    assert isinstance(whole, Whole)
    assert whole.message == b"abcdef"
    assert (whole.afl.counter, whole.afl.mac, whole.afl.message_length) == (9, bytes(8), 6)
    assert (whole.afl.message_control, whole.afl.key_information) == (CONTROL, INFORMATION)
    assert not whole.afl.fragmented
    assert len(reassembler) == 0
    assert whole.afl.encode()


def test_mac_in_the_first_fragment() -> None:
    reassembler = Reassembler()
    reassembler.add(PEER, part(1, True, mac=b"12345678", counter=1), b"a")
    whole = reassembler.add(PEER, part(2, False), b"b")
    assert whole is not None
    assert whole.afl.mac == b"12345678"


def test_a_message_of_one_fragment() -> None:
    whole = Reassembler().add(PEER, part(1, False, length=2), b"ab")
    assert whole is not None
    assert whole.message == b"ab"


@pytest.mark.parametrize("number", [2, 3, 255])
def test_a_message_starts_with_fragment_1(number: int) -> None:
    assert code_of(Reassembler(), PEER, part(number, True), b"") == "afl.fragment_missing"


@pytest.mark.parametrize("gap", [3, 4, 200])
def test_gaps_drop_the_message(gap: int) -> None:
    reassembler = Reassembler()
    reassembler.add(PEER, part(1, True), b"a")
    assert code_of(reassembler, PEER, part(gap, True), b"c") == "afl.fragment_missing"
    assert len(reassembler) == 0
    assert code_of(reassembler, PEER, part(2, False), b"b") == "afl.fragment_missing"


def test_repeated_fragments_are_duplicates() -> None:
    reassembler = Reassembler()
    first = part(1, True, length=3)
    assert reassembler.add(PEER, first, b"a") is None
    assert reassembler.add(PEER, first, b"a") is None
    assert reassembler.add(PEER, part(2, True), b"b") is None
    assert reassembler.add(PEER, part(2, True), b"b") is None
    assert reassembler.add(PEER, first, b"a") is None
    whole = reassembler.add(PEER, part(3, False), b"c")
    assert whole is not None
    assert whole.message == b"abc"


def test_another_first_fragment_starts_anew() -> None:
    reassembler = Reassembler()
    reassembler.add(PEER, part(1, True, length=2), b"a")
    reassembler.add(PEER, part(1, True, length=2), b"x")
    whole = reassembler.add(PEER, part(2, False), b"y")
    assert whole is not None
    assert whole.message == b"xy"


@pytest.mark.parametrize("stated", [1, 3])
def test_the_announced_length_must_fit(stated: int) -> None:
    reassembler = Reassembler()
    reassembler.add(PEER, part(1, True, length=stated), b"a")
    assert code_of(reassembler, PEER, part(2, False), b"b") == "afl.message_length"
    assert len(reassembler) == 0


def test_time_out() -> None:
    reassembler = Reassembler(timeout=5.0)
    reassembler.add(PEER, part(1, True), b"a", 100.0)
    reassembler.add(PEER, part(2, True), b"b", 105.0)
    assert code_of(reassembler, PEER, part(3, False), b"c", 105.5) == "afl.fragment_missing"
    assert Reassembler().timeout == FRAGMENT_TIMEOUT


def test_an_old_first_fragment_is_no_duplicate() -> None:
    """After the time-out the same first fragment starts the message again."""
    reassembler = Reassembler(timeout=5.0)
    reassembler.add(PEER, part(1, True), b"a", 0.0)
    reassembler.add(PEER, part(1, True), b"a", 10.0)
    assert reassembler.add(PEER, part(2, False), b"b", 14.0) is not None


def test_peers_do_not_mix() -> None:
    reassembler = Reassembler()
    for peer in (b"x", b"y"):
        reassembler.add(peer, part(1, True), peer)
    for peer in (b"x", b"y"):
        whole = reassembler.add(peer, part(2, False), b"!")
        assert whole is not None
        assert whole.message == peer + b"!"


def test_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LIMIT", 3)
    reassembler = Reassembler()
    for number in range(20):
        reassembler.add(bytes((number,)), part(1, True), b"a")
        assert len(reassembler) <= 3


@settings(max_examples=100)
@given(message=st.binary(min_size=1, max_size=200), cuts=st.sets(st.integers(1, 199), max_size=8), repeats=st.integers(1, 3))
def test_any_cut_comes_together(message: bytes, cuts: set[int], repeats: int) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(message)), len(message)]
    parts = [message[start:end] for start, end in pairwise(places)]
    reassembler = Reassembler()
    whole = None
    for number, octets in enumerate(parts, 1):
        last = number == len(parts)
        layer = part(number, not last, length=len(message) if number == 1 else None)
        for _ in range(1 if last else repeats):
            whole = reassembler.add(PEER, layer, octets)
            assert (whole is not None) == last
    assert whole is not None
    assert whole.message == message


def test_readout() -> None:
    readout = Readout()
    assert [readout.add(name, more) for name, more in (("a", True), ("b", True), ("c", False))] == [False, False, True]
    assert readout.complete
    assert readout.telegrams == ["a", "b", "c"]
