"""A picture for each rule of validation: the smallest evidence that makes it speak, and what it said of it.

The rules themselves are run when the documentation is built; what is shaded is the time that the finding names, and crosses are
the values or telegrams that it is about.
"""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from drawing import Curve, Marks, over_time
from pages import escape, forget, write

from openmetering.mdm.evidence import Balance, Evidence, Heard, Stay, Stored
from openmetering.mdm.series import Register, Sample, Series
from openmetering.mdm.validation import RULE_IDS, load_rules, validate, validate_balance
from openmetering.services.mdm.strangers import Stranger, suspects

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sphinx.application import Sphinx

    from openmetering.mdm.findings import Finding

DAY, HOUR, STEP = 86_400.0, 3600.0, 21_600.0
RULES = load_rules()
BEGIN = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
#: a household: nothing at night, something by day
USUAL = [9000 + place // 4 * 150 + (0, 0, 60, 120)[place % 4] for place in range(160)]


class Picture(NamedTuple):
    """What a rule is shown on, and what it found."""

    finding: Finding
    curves: tuple[Curve, ...] = ()
    marks: tuple[Marks, ...] = ()
    unit: str = "m³"


def _series(numbers: Sequence[int], device: str = "A", *, step: float = STEP, begin: float = BEGIN) -> Series:
    register = Register(device, "VM1!", "cold water", "volume", "m3", None, 8)
    return Series(register, -3, tuple(Sample(begin + step * place, one) for place, one in enumerate(numbers)))


def _evidence(numbers: Sequence[int], **more: object) -> Evidence:
    heard = tuple(Heard(BEGIN + STEP * place, "A", "east", place % 256, status=0) for place in range(len(numbers)))
    known = Evidence(
        "1", BEGIN, BEGIN + STEP * len(numbers), (_series(numbers),), (Stay("A", BEGIN - DAY),), heard, medium="cold water",
        unit="m3", maximum=Decimal("3.125"),
    )  # fmt: skip
    return msgspec.structs.replace(known, **more)


def _curve(series: Series, label: str = "", *, thin: bool = False) -> Curve:
    return Curve(label, tuple((one.at, float(series.value(one))) for one in series.samples), thin)


def _found(rule: str, made: Evidence) -> Finding:
    return next(one for one in validate(made, RULES) if one.rule == rule)


def _register(rule: str, numbers: Sequence[int], **more: object) -> Picture:
    made = _evidence(numbers, **more)
    curves = (*(_curve(one, thin=True) for one in made.peers), *(_curve(one, one.register.device) for one in made.registers))
    stored = tuple((one.at, float(one.value)) for one in made.stored)
    return Picture(_found(rule, made), curves, (Marks("stored", stored, "ring"),) if stored else ())


def _telegrams(rule: str, change: Callable[[int, Heard], Heard | None], count: int = len(USUAL)) -> Picture:
    """Telegrams as ticks; those that the rule is about as crosses."""
    made = _evidence(USUAL[:count])
    heard = [other for place, one in enumerate(made.heard) if (other := change(place, one)) is not None]
    changed = [one for one in heard if one not in made.heard]
    return Picture(
        _found(rule, msgspec.structs.replace(made, heard=tuple(heard))),
        marks=(
            Marks("telegrams", tuple((one.at, 0.0) for one in heard if one not in changed), "tick"),
            *((Marks("", tuple((one.at, 0.0) for one in changed), "cross"),) if changed else ()),
        ),
        unit="",
    )


def _between(first: int, last: int) -> Callable[[int], bool]:
    return lambda place: first <= place < last


def _clock() -> Picture:
    made = _evidence(USUAL)
    drift = [min(max(0, place - 60) * 3.0, 240.0) for place in range(len(USUAL))]
    heard = tuple(msgspec.structs.replace(one, meter_time=one.at + off) for one, off in zip(made.heard, drift, strict=True))
    curve = Curve("clock of the meter", tuple((one.at, off) for one, off in zip(heard, drift, strict=True)))
    return Picture(_found("clock", msgspec.structs.replace(made, heard=heard)), (curve,), unit="s")


def _copies() -> Picture:
    made = _evidence(USUAL)
    copies = tuple(msgspec.structs.replace(one, at=one.at + 1800.0, gateway="north") for one in made.heard)
    lanes = (Marks("east", tuple((one.at, 1.0) for one in made.heard), "tick"),
             Marks("north", tuple((one.at, 0.0) for one in copies), "cross"))  # fmt: skip
    return Picture(_found("duplicates", msgspec.structs.replace(made, heard=made.heard + copies)), marks=lanes, unit="")


def _replay() -> Picture:
    made = _evidence(USUAL)
    again = tuple(Sample(BEGIN + STEP * 120 + 700.0 * place, USUAL[60 + place]) for place in (1, 2, 3))
    heard = tuple(Heard(one.at, "A", "east", 60 + place, status=0) for place, one in enumerate(again, 1))
    samples = tuple(sorted((*made.registers[0].samples, *again), key=lambda one: one.at))
    changed = msgspec.structs.replace(
        made, registers=(Series(made.registers[0].register, -3, samples),),
        heard=tuple(sorted((*made.heard, *heard), key=lambda one: one.at)),
    )  # fmt: skip
    return Picture(
        _found("replay", changed),
        (_curve(made.registers[0]),),
        (Marks("sent again", tuple((one.at, one.mantissa / 1000) for one in again), "cross"),),
    )


def _gap() -> Picture:
    made = _evidence(USUAL)
    kept = [place for place in range(len(USUAL)) if not 60 <= place < 80]
    series = Series(made.registers[0].register, -3, tuple(made.registers[0].samples[place] for place in kept))
    changed = msgspec.structs.replace(made, registers=(series,), heard=tuple(made.heard[place] for place in kept))
    halves = tuple(
        Curve("", tuple((one.at, one.mantissa / 1000) for one in series.samples if (one.at < BEGIN + 70 * STEP) == early))
        for early in (True, False)
    )
    return Picture(_found("gap", changed), halves)


def _exchange() -> Picture:
    change = BEGIN + STEP * 80
    old, new = _series(USUAL[:80], "A"), _series([one - USUAL[80] for one in USUAL[80:]], "B", begin=change)
    made = _evidence(USUAL, registers=(old, new), stays=(Stay("A", BEGIN - DAY, change), Stay("B", change)), heard=())
    return Picture(_found("exchange", made), (_curve(old, "A"), _curve(new, "B")))


def _address() -> Picture:
    silent = BEGIN + 18 * DAY
    heard = [BEGIN + STEP * place for place in range(len(USUAL))]
    (found,) = suspects(
        RULES.of("cold water")["address"], "1", "A", "cold water", silent, heard[-1],
        [Stranger("B", "cold water", silent + STEP, heard[-1])],
    )  # fmt: skip
    lanes = (Marks("A", tuple((at, 1.0) for at in heard if at <= silent), "tick"),
             Marks("B", tuple((at, 0.0) for at in heard if at > silent), "cross"))  # fmt: skip
    return Picture(found, marks=lanes, unit="")


def _balance() -> Picture:
    days = range(40)
    parts = tuple(_series([place * rate for place in days], f"P{rate}") for rate in (100, 200, 300))
    main, total = _series([place * 800 for place in days], "main meter"), _series([place * 600 for place in days], "sum")
    made = Balance("9", BEGIN, BEGIN + 39 * STEP, (main,), tuple((one,) for one in parts))
    (found,) = validate_balance(made, RULES, "cold water")
    return Picture(
        found, (_curve(main, "main meter"), _curve(total, "sum of the sub-meters"), *(_curve(one, thin=True) for one in parts))
    )


def _day_length() -> Picture:
    begin = datetime(2026, 10, 20, tzinfo=UTC).timestamp()
    missing = datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()
    hours = [begin + HOUR * place for place in range(24 * 10) if begin + HOUR * place != missing]
    register = Register("A", "EW1!", "electricity", "energy", "Wh", None, 8)
    series = Series(register, 0, tuple(Sample(at, 4000 + round((at - begin) / 36)) for at in hours))
    made = _evidence(USUAL, medium="electricity", unit="Wh", maximum=None, registers=(series,), begin=begin,
                     end=hours[-1] + HOUR, stays=(Stay("A", begin - DAY),), heard=())  # fmt: skip
    found = _found("day-length", made)
    near = [one for one in series.samples if abs(one.at - missing) < 1.5 * DAY]
    return Picture(found, marks=(Marks("hourly values", tuple((one.at, 0.0) for one in near), "tick"),), unit="")


def _jump(numbers: Sequence[int], first: int, last: int, change: Callable[[int], int]) -> list[int]:
    return [change(one) if first < place < last else one for place, one in enumerate(numbers)]


def _frozen() -> Picture:
    still = [4000 + min(place, 60) * 40 for place in range(300)]
    peers = tuple(_series([3000 + place * rate for place in range(300)], f"P{rate}") for rate in (36, 40, 44, 48))
    return _register("frozen", still, peers=peers)


def _turned() -> list[int]:
    return [(99_997_000 + one - USUAL[0]) % 10**8 for one in USUAL]


def _pictures() -> dict[str, Callable[[], Picture]]:
    replace = msgspec.structs.replace
    odd = _between(80, 90)
    old = BEGIN + 20 * DAY
    return {
        "key": lambda: _telegrams("key", lambda n, one: replace(one, opened=False) if odd(n) else one),
        "address": _address,
        "replay": _replay,
        "duplicates": _copies,
        "hops": lambda: _telegrams("hops", lambda n, one: replace(one, repeats=2) if odd(n) else one),
        "lost": lambda: _telegrams("lost", lambda n, one: None if n % 5 in (1, 3) else one, 120),
        "status": lambda: _telegrams("status", lambda n, one: replace(one, status=8) if odd(n) else one),
        "flags": lambda: _telegrams("flags", lambda n, one: replace(one, flags=("water leakage",)) if odd(n) else one),
        "clock": _clock,
        "medium": lambda: _register("medium", USUAL, medium="heat"),
        "unit": lambda: _register("unit", _jump(USUAL, 60, 90, lambda one: one * 10), maximum=None),
        "rate": lambda: _register("rate", _jump(USUAL, 60, 70, lambda one: one + 5_000_000)),
        "backward": lambda: _register("backward", [one - 3000 * (place > 100) for place, one in enumerate(USUAL)]),
        "roll-over": lambda: _register("roll-over", _turned()),
        "exchange": _exchange,
        "gap": _gap,
        "day-length": _day_length,
        "frozen": _frozen,
        "leak": lambda: _register("leak", [9000 + place * 90 for place in range(80)]),
        "due-date": lambda: _register("due-date", USUAL, stored=(Stored("due", "A", old, 9500, -3, old + 2 * DAY),)),
        "months": lambda: _register("months", USUAL, stored=(Stored("month", "A", old, 9500, -3, old + 2 * DAY),)),
        "balance": _balance,
    }  # fmt: skip


def drawn(rule: str, made: Picture) -> list[str]:
    """The lines of a picture with what the rule said."""
    found = made.finding
    wrong = set(found.samples)
    crosses = tuple(point for curve in made.curves if not curve.thin for point in curve.points if point[0] in wrong)
    marks = (*made.marks, *((Marks("", crosses, "cross"),) if crosses and len(crosses) < 40 else ()))
    span = (found.begin, found.end)
    return [over_time(made.curves, marks, span, made.unit, f"Rule {rule}"), "", f"*{escape(found.reason)}* ({found.severity})"]


def generate(_app: Sphinx, _config: object) -> None:
    pictures = _pictures()
    missing = set(RULE_IDS) - set(pictures)
    if missing:
        raise ValueError(f"rules without a picture: {', '.join(sorted(missing))}")
    for rule in RULE_IDS:
        write(f"_rule-{rule}.md", drawn(rule, pictures[rule]()))
    forget("_rule-*.md", {f"_rule-{rule}.md" for rule in RULE_IDS})


def setup(app: Sphinx) -> dict[str, object]:
    app.connect("config-inited", generate)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
