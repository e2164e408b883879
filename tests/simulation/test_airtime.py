"""Durations on air against the published table, channels and sub-bands."""

from __future__ import annotations

import pytest

from openmetering.codec.link.wireless import frame
from openmetering.errors import NotRepresentable
from openmetering.simulation.airtime import AIR, air_interface, airtime, band_of, octets_on_air

#: octets without CRCs -> ms for T, C format A, C format B, S1 long header, S or T down, N 4.8 kcps, R2
TABLE = {
    20: (3.44, 2.56, 2.40, 29.5, 13.4, 46.7, 102),
    47: (7.16, 5.04, 4.56, 44.7, 28.6, 98.3, 205),
    100: (14.2, 9.76, 8.80, 73.5, 57.4, 197, 402),
    156: (21.9, 14.9, 13.4, 105, 88.6, 303, 615),
    256: (35.4, 23.8, None, 159, 143, 490, 988),
}
COLUMNS = (
    air_interface("T"),
    air_interface("C"),
    air_interface("C", frame_format="B"),
    air_interface("S1"),
    air_interface("S"),
    air_interface("N"),
    air_interface("R2"),
)


@pytest.mark.parametrize("size", TABLE)
def test_durations_of_the_published_table(size: int) -> None:
    for air, published in zip(COLUMNS, TABLE[size], strict=True):
        if published is not None:
            milliseconds = airtime(air, size) * 1000
            digits = 2 if published < 10 else 1 if published < 100 else 0
            assert round(milliseconds, digits) == pytest.approx(published, abs=0.51 * 10**-digits), (air, size)


def test_t_down_lasts_as_long_as_s() -> None:
    assert airtime(air_interface("T", downlink=True), 47) == airtime(air_interface("S"), 47)


@pytest.mark.parametrize("size", [10, 11, 26, 27, 47, 126, 127, 240])
@pytest.mark.parametrize("frame_format", ["A", "B"])
def test_octets_on_air_are_those_of_the_link_layer(size: int, frame_format: str) -> None:
    plain = bytes((size - 1,)) + bytes(size - 1)
    assert octets_on_air(size, frame_format) == len(frame(plain, frame_format))


def test_t_and_c_share_a_channel_uplink_and_none_downlink() -> None:
    assert air_interface("T").channel == air_interface("C").channel == 868.95
    assert air_interface("C", downlink=True).channel == 869.525
    assert air_interface("T", downlink=True).channel == air_interface("S").channel == 868.3


@pytest.mark.parametrize(("channel", "share"), [(868.3, 0.01), (868.95, 0.001), (869.525, 0.1), (169.40625, 0.1)])
def test_share_of_an_hour_by_channel(channel: float, share: float) -> None:
    band = band_of(channel)
    assert band is not None
    assert band.share == share


def test_every_868_channel_lies_in_a_band() -> None:
    assert all(band_of(air.channel) is not None for air in AIR.values())
    assert band_of(433.82) is None


def test_a_share_of_a_thousandth_is_502_telegrams_of_mode_t() -> None:
    assert int(3.6 / airtime(air_interface("T"), 47)) == 502


def test_an_air_interface_that_is_not_modelled() -> None:
    with pytest.raises(NotRepresentable, match="no air interface T up with frame format B"):
        air_interface("T", frame_format="B")
