"""Standard load profiles: descriptors, blocks, dates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openmetering.codec.apl.header import encode_dib
from openmetering.codec.apl.load_profile import standard_load_profile
from openmetering.codec.apl.records import parse
from tests.codec.apl.protocol_vectors import octets_of, own, shared


def value(storage, number):
    return encode_dib(2, storage=storage) + b"\x13" + number.to_bytes(2, "little")


def date(storage, octets="1F15"):
    return encode_dib(2, storage=storage) + b"\x6c" + bytes.fromhex(octets)


def descriptor(code, storage, number=None):
    dib = encode_dib(0 if number is None else 1, storage=storage)
    return dib + bytes((0xFD, code)) + (b"" if number is None else bytes((number,)))


def profiles(*parts):
    parsed = parse(b"".join(parts))
    assert parsed.fault is None
    return standard_load_profile(parsed.records)


def points(profile):
    return [[point.storage, point.time, str(point.record.value)] for point in profile.points]


@pytest.mark.parametrize("vector", own("apl_profiles.toml", "load_profile"))
def test_own_vectors(vector):
    (profile,) = standard_load_profile(parse(octets_of(vector)).records)
    assert points(profile) == vector["points"]
    assert (profile.oldest, profile.newest, profile.base_storage) == (8, 12, 12)


@pytest.mark.parametrize("vector", shared("application.json", lambda v: v["name"] == "oms501_G2_standard_load_profile"))
def test_shared_vectors(vector):
    (profile,) = standard_load_profile(parse(octets_of(vector)).records)
    stated = [record for record in vector["expected"]["records"] if record["quantity"] == "volume"]
    assert [(point.storage, str(point.record.value)) for point in profile.points] == [
        (record["storage"], record["value"]) for record in stated
    ]


@pytest.mark.parametrize(
    ("code", "times"),
    [
        (0x27, ["2008-05-31", "2008-06-01", "2008-06-02"]),
        (0x28, ["2008-05-31", "2008-06-30", "2008-07-31"]),
        (0x29, ["2008-05-31", "2009-05-31", "2010-05-31"]),
        (0x26, ["2008-05-31", None, None]),  # hours do not fit a date
    ],
)
def test_units_of_the_interval(code, times):
    (profile,) = profiles(descriptor(code, 8, 1), date(8), value(8, 1), value(9, 2), value(10, 3))
    assert [point.time for point in profile.points] == times


def test_minutes_from_date_and_time():
    base = encode_dib(4, storage=8) + b"\x6d" + bytes.fromhex("32371F15")
    (profile,) = profiles(descriptor(0x25, 8, 15), base, value(8, 1), value(9, 2))
    assert [point.time for point in profile.points] == ["2008-05-31T23:50", "2008-06-01T00:05"]


def test_interval_0_has_no_relation_in_time():
    (profile,) = profiles(descriptor(0x28, 8, 0), date(8), value(8, 1), value(9, 2))
    assert profile.interval is None
    assert [point.time for point in profile.points] == ["2008-05-31", None]


def test_first_and_last_without_data_stand_in_the_dib():
    (profile,) = profiles(
        descriptor(0x20, 8), descriptor(0x21, 9), descriptor(0x28, 8, 1), date(9), value(8, 1), value(9, 2), value(10, 3)
    )
    assert points(profile) == [[8, "2008-04-30", "0.001"], [9, "2008-05-31", "0.002"]]


def test_first_and_last_as_data_may_run_down():
    (profile,) = profiles(
        descriptor(0x20, 0, 10), descriptor(0x21, 0, 8), descriptor(0x28, 8, 1), date(8), value(8, 1), value(10, 3)
    )
    assert (profile.oldest, profile.newest) == (10, 8)
    assert points(profile) == [[8, "2008-05-31", "0.001"], [10, "2008-03-31", "0.003"]]


def test_last_alone_ends_the_block():
    (profile,) = profiles(descriptor(0x21, 9), descriptor(0x28, 8, 1), value(8, 1), value(9, 2), value(10, 3))
    assert [point.storage for point in profile.points] == [8, 9]
    assert (profile.base_time, profile.base_storage) == (None, None)
    assert [point.time for point in profile.points] == [None, None]


def test_two_blocks_end_at_each_other():
    first, second = profiles(
        descriptor(0x28, 8, 1), descriptor(0x27, 20, 1), date(8), date(20), value(8, 1), value(9, 2), value(20, 3), value(21, 4)
    )
    assert points(first) == [[8, "2008-05-31", "0.001"], [9, "2008-06-30", "0.002"]]
    assert points(second) == [[20, "2008-05-31", "0.003"], [21, "2008-06-01", "0.004"]]


def test_every_block_has_its_own_last_number():
    first, second = profiles(
        *(descriptor(0x20, 8), descriptor(0x21, 9), descriptor(0x28, 8, 1), descriptor(0x20, 20), descriptor(0x21, 20)),
        *(descriptor(0x28, 20, 1), value(20, 5), value(21, 6), value(10, 3), value(9, 2), value(8, 1)),
    )
    assert [point.storage for point in first.points] == [8, 9]
    assert [point.storage for point in second.points] == [20]


def test_a_block_ends_in_front_of_the_next_one():
    first, second = profiles(
        descriptor(0x22, 8, 200), descriptor(0x28, 8, 1), descriptor(0x28, 9, 1), value(8, 1), value(9, 2), value(10, 3)
    )
    assert (first.newest, second.oldest, second.newest) == (8, 9, 10)


def test_several_intervals_of_one_falling_block_give_one_profile():
    (profile,) = profiles(
        descriptor(0x20, 0, 10), descriptor(0x21, 0, 8), descriptor(0x28, 8, 1), descriptor(0x28, 9, 1), value(8, 1), value(9, 2)
    )
    assert [point.storage for point in profile.points] == [8, 9]


def test_an_own_date_wins_and_a_date_inside_serves():
    (profile,) = profiles(
        descriptor(0x22, 8, 4),
        descriptor(0x28, 8, 1),
        date(9),
        date(10, "0C17"),
        value(8, 1),
        value(9, 2),
        value(10, 3),
        value(11, 4),
    )
    assert profile.base_storage == 9
    assert [point.time for point in profile.points] == ["2008-04-30", "2008-05-31", "2008-07-12", "2008-07-31"]


def test_a_size_of_another_block_does_not_count():
    (profile,) = profiles(descriptor(0x22, 20, 1), descriptor(0x28, 8, 1), value(8, 1), value(9, 2))
    assert (profile.oldest, profile.newest) == (8, 9)


@pytest.mark.parametrize("size", [descriptor(0x22, 8, 0), descriptor(0x22, 8)])
def test_a_block_of_no_size_is_open(size):
    (profile,) = profiles(size, descriptor(0x28, 8, 1), value(8, 1), value(11, 2))
    assert (profile.oldest, profile.newest) == (8, 11)


def test_an_invalid_date_is_no_date():
    (profile,) = profiles(descriptor(0x28, 8, 1), date(8, "FFFF"), value(8, 1))
    assert profile.points[0].time is None


def test_a_compact_profile_is_no_value_of_the_block():
    compact = encode_dib(0x0D, storage=8) + bytes.fromhex("931F037101FE")
    (profile,) = profiles(descriptor(0x28, 8, 1), date(8), value(8, 1), compact)
    assert points(profile) == [[8, "2008-05-31", "0.001"]]


def test_no_interval_no_profile():
    assert profiles(descriptor(0x22, 8, 4), date(8), value(8, 1)) == ()


@given(st.binary(max_size=60))
def test_any_records(octets):
    records = parse(octets).records
    found = standard_load_profile(records)
    assert sum(len(profile.points) for profile in found) <= len(records)  # blocks do not overlap


def test_many_blocks_are_no_burden():
    octets = b"".join(descriptor(0x28, storage, 1) + descriptor(0x22, storage, 255) for storage in range(3000))
    found = standard_load_profile(parse(octets + value(5, 1) * 3000).records)
    assert len(found) == 3000
    assert sum(len(profile.points) for profile in found) == 3000
