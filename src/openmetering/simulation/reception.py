"""What a receiver makes of a frame: packet error rate over Ec/N0, and capture in a collision.

    Ec/N0 (dB)   received power - (-174 + noise figure + man-made noise + 10 log10(chip rate))
    noise        p(octet) = a * exp(-b * Ec/N0 as a ratio), PER = 1 - (1 - p)^octets on air;
                 a and b go through two measured points: 20 octets at PER 20 %, 47 octets at PER 10 %
    collision    PER over the signal to interference ratio (sum of all other frames), one curve if the stronger
                 frame began first, another if it came second and the receiver does not search for a new sync word

The exponential is the law of non-coherent detection, BER = exp(-Ec/2N0)/2, with constants that fit each detector.

Sources: error rates of simulated detectors with ideal timing plus 0.7 dB for synchronisation, error rates and
collisions of rtl_wmbus, both measured with synthetic signals. Collisions were measured for T and S; C takes
the curve of T (same channel, same chip rate) [?].
"""

from __future__ import annotations

import math
from bisect import bisect_left
from functools import lru_cache

import msgspec

from openmetering.errors import NotRepresentable

__all__ = ["RECEIVERS", "Receiver", "capture_error", "constants", "deaf_below", "octet_error", "packet_error", "quiet_above"]

_THERMAL = -174.0  #: dBm per Hz at 17 degrees C
_OCTETS_20, _OCTETS_47 = 24, 55  #: on air, format A
_SYNC_LOSS = 0.7
#: an octet error rate that no run will notice: links that stay below are not diced for
NEGLIGIBLE = 1e-9

_Curve = tuple[tuple[float, float], ...]
_T_STRONG_FIRST: _Curve = ((1.0, 1.0), (2.0, 0.91), (3.0, 0.36), (4.0, 0.20), (5.0, 0.05), (6.0, 0.01), (8.0, 0.0))
_T_WEAK_FIRST: _Curve = ((1.0, 1.0), (2.0, 0.97), (3.0, 0.96), (4.0, 0.89), (5.0, 0.86), (6.0, 0.88), (8.0, 0.88), (10.0, 0.81))
_S_EITHER: _Curve = ((1.0, 1.0), (3.0, 0.98), (4.0, 0.735), (5.0, 0.125), (6.0, 0.005), (8.0, 0.0))
_STRONG_FIRST = {"S": _S_EITHER}
_WEAK_FIRST = {"S": _S_EITHER}

_Points = dict[str, tuple[float, float]]
_SOFT: _Points = {"T": (7.2, 8.2), "C": (8.7, 9.8), "S": (6.9, 8.0), "C-down": (9.0, 10.2), "N": (9.0, 10.2)}
_DISCRIMINATOR: _Points = {"T": (11.3, 12.4), "C": (10.4, 11.6), "S": (13.0, 14.2), "C-down": (10.0, 11.2), "N": (10.0, 11.2)}
_RTL_WMBUS: _Points = {"T": (11.8, 12.7), "C": (11.3, 12.3), "S": (17.2, 17.9)}


def _with_sync(points: _Points) -> _Points:
    return {name: (low + _SYNC_LOSS, high + _SYNC_LOSS) for name, (low, high) in points.items()}


class Receiver(msgspec.Struct, frozen=True):
    """A kind of receiver.

    ``thresholds``   detector -> Ec/N0 in dB for 20 octets at PER 20 % and 47 octets at PER 10 %
    ``resync``       a new stronger frame is found while another is being received
    ``noise_figure`` dB; ``man_made`` dB above thermal noise where it stands
    """

    name: str
    thresholds: dict[str, tuple[float, float]]
    resync: bool = True
    noise_figure: float = 6.0
    man_made: float = 3.0

    def floor(self, chip_rate: float) -> float:
        """Noise in the bandwidth of one chip rate, dBm."""
        return _THERMAL + self.noise_figure + self.man_made + 10.0 * math.log10(chip_rate)

    def hears(self, detector: str) -> bool:
        """True if it has a detector for these frames."""
        return detector in self.thresholds


#: receivers by name: soft decisions (a gateway), discriminator (radio chips of devices and sticks), rtl_wmbus
RECEIVERS: dict[str, Receiver] = {
    "soft": Receiver("soft", _with_sync(_SOFT)),
    "chip": Receiver("chip", _with_sync(_DISCRIMINATOR)),
    "rtl_wmbus": Receiver("rtl_wmbus", _RTL_WMBUS, resync=False),
}


@lru_cache(maxsize=256)
def constants(low: float, high: float) -> tuple[float, float]:
    """a and b of the octet error rate through the two measured points."""
    first, second = 10.0 ** (low / 10.0), 10.0 ** (high / 10.0)
    at_first = 1.0 - 0.8 ** (1.0 / _OCTETS_20)
    at_second = 1.0 - 0.9 ** (1.0 / _OCTETS_47)
    slope = math.log(at_first / at_second) / (second - first)
    return at_first * math.exp(slope * first), slope


def octet_error(points: tuple[float, float], ecn0: float) -> float:
    """Probability that an octet is wrong at Ec/N0 (dB), at most 1."""
    scale, slope = constants(*points)
    return min(1.0, scale * math.exp(-slope * 10.0 ** (ecn0 / 10.0)))


def packet_error(points: tuple[float, float], ecn0: float, octets: int) -> float:
    """Probability that a frame of ``octets`` octets on air is lost to noise at Ec/N0 (dB)."""
    return float(1.0 - (1.0 - octet_error(points, ecn0)) ** octets)


@lru_cache(maxsize=256)
def quiet_above(points: tuple[float, float]) -> float:
    """Ec/N0 in dB from which on errors by noise are negligible."""
    scale, slope = constants(*points)
    return 10.0 * math.log10(math.log(scale / NEGLIGIBLE) / slope)


@lru_cache(maxsize=256)
def deaf_below(points: tuple[float, float]) -> float:
    """Ec/N0 in dB up to which every octet is wrong: nothing ever arrives."""
    scale, slope = constants(*points)
    if scale <= 1.0:
        raise NotRepresentable(f"no receiver has the error rates {points}", field="thresholds", value=points)
    return 10.0 * math.log10(math.log(scale) / slope)


def _curve_at(curve: _Curve, ratio: float) -> float:
    """Linear between the points, level outside."""
    at = bisect_left(curve, (ratio,))
    if at == 0:
        return curve[0][1]
    if at == len(curve):
        return curve[-1][1]
    (x0, y0), (x1, y1) = curve[at - 1], curve[at]
    return y0 + (y1 - y0) * (ratio - x0) / (x1 - x0)


def capture_error(detector: str, ratio: float, *, first: bool, resync: bool) -> float:
    """Probability that a frame is lost to others that overlap it.

    ``ratio`` signal to interference in dB; ``first`` the frame began before all that it overlaps
    (or those before it could not be received anyway).
    """
    curves = _STRONG_FIRST if first or resync else _WEAK_FIRST
    return _curve_at(curves.get(detector, _T_STRONG_FIRST if first or resync else _T_WEAK_FIRST), ratio)
