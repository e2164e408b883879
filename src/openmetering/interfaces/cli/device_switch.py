"""``oms device valve``, ``breaker`` and ``clock``: UC-03 and UC-04."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Annotated

import typer

from openmetering.errors import InputError
from openmetering.interfaces.cli import device_show as show
from openmetering.interfaces.cli.device_call import Call, Report
from openmetering.protocol.operator.clock import (
    adjust_by_gateway,
    adjust_clock,
    adjust_in_steps,
    correct_by_gateway,
    correct_clock,
    read_clock,
    set_clock,
    type_i,
)
from openmetering.protocol.operator.disconnector import read_disconnector, set_disconnector
from openmetering.wire.types import MeterTime

__all__ = ["COMMANDS"]

VALVE_EPILOG = """\b
Examples
  oms device valve ELS-12345678-33-03 state --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device valve ELS-12345678-33-03 close --via "serial:/dev/ttyUSB0?stick=im871a&mode=c" --keys keys.csv
  oms device valve ELS-12345678-33-03 open --after 3600 --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device valve ELS-12345678-33-03 close --via world:house.toml --dry-run
"""
BREAKER_EPILOG = """\b
Examples
  oms device breaker ELS-12345678-33-20 state --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device breaker ELS-12345678-33-02 disconnect --inside-meter --via mbus:/dev/ttyUSB1 --keys keys.csv
"""
CLOCK_EPILOG = """\b
Examples
  oms device clock ELS-12345678-33-03 read --via mbus:/dev/ttyUSB1 --keys keys.csv
  oms device clock ELS-12345678-33-03 adjust -30 --via mbus:/dev/ttyUSB1 --keys keys.csv    30 s back
  oms device clock ELS-12345678-33-03 correct --via mbus:/dev/ttyUSB1 --keys keys.csv       by up to 60 s
  oms device clock ELS-12345678-33-03 set --via mbus:/dev/ttyUSB1 --keys keys.csv           to the time of this computer
  oms device clock ELS-12345678-33-03 set "2026-03-29 12:00:00" --via mbus:/dev/ttyUSB1 --keys keys.csv
"""


class Valve(StrEnum):
    """What a valve can do."""

    open = "open"
    close = "close"
    release = "release"
    state = "state"


class Breaker(StrEnum):
    """What a breaker can do."""

    connect = "connect"
    disconnect = "disconnect"
    release = "release"
    state = "state"


class ClockAction(StrEnum):
    """What can be done with a clock."""

    read = "read"
    adjust = "adjust"
    correct = "correct"
    set = "set"


#: action -> control state of DC1!
_STATES = {
    "open": "connected",
    "close": "disconnected",
    "release": "released",
    "connect": "connected",
    "disconnect": "disconnected",
}

After = Annotated[int, typer.Option("--after", min=0, help="Execute after this many seconds; devices need not know that.")]
Inside = Annotated[bool, typer.Option("--inside-meter", help="The disconnector is part of a meter, not a device of its own.")]


def _switch(call: Call, kind: str, action: str, after: int, inside: bool) -> None:
    if action == "state":
        call.run(lambda head_end: read_disconnector(), lambda found: show.state(found, kind), meaning=f"{kind} state")
        return
    danger = "" if action in ("open", "connect") else f"{call.device}: {action} the {kind}. Somebody may be left without supply."
    if action in ("open", "connect"):
        danger = f"{call.device}: {action} the {kind}. Make sure that nobody is endangered."
    call.run(
        lambda head_end: set_disconnector(
            head_end, call.device, _STATES[action], part_of_meter=inside, delay=after, issue=call.issue
        ),
        lambda found: show.set_state(found, kind),
        meaning=f"{kind} {action}",
        danger=danger,
    )


def valve(
    call: Call,
    action: Annotated[Valve, typer.Argument(help="What to do.")],
    after: After = 0,
    inside_meter: Inside = False,
) -> None:
    """Open, close or release a valve, or see how it stands (UC-03)."""
    _switch(call, "valve", action.value, after, inside_meter)


def breaker(
    call: Call,
    action: Annotated[Breaker, typer.Argument(help="What to do.")],
    after: After = 0,
    inside_meter: Inside = False,
) -> None:
    """Connect, disconnect or release a breaker, or see how it stands (UC-03)."""
    _switch(call, "breaker", action.value, after, inside_meter)


# -- clock -------------------------------------------------------------------------------------------


def _difference(told: MeterTime, now: dt.datetime) -> float:
    """Seconds that a device is ahead of a naive local time; types F have no seconds."""
    seconds = getattr(told, "second", None) or 0
    shown = dt.datetime(told.year or now.year, told.month or 1, told.day or 1, told.hour or 0, told.minute or 0, seconds)
    return (shown - now).total_seconds()


def _moment(text: str | None) -> MeterTime:
    """Local time of this computer, or of the caller, as type I. Raises InputError."""
    try:
        moment = dt.datetime.now() if text is None else dt.datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text!r} is no time; write 2026-03-29 12:00:00") from None
    if moment.tzinfo is not None:
        moment = moment.astimezone()
    summer = bool(moment.astimezone().dst())
    return type_i(moment.replace(microsecond=0, tzinfo=None), summer_time=summer)


def _type_j(moment: MeterTime) -> MeterTime:
    """The time of the day alone."""
    return MeterTime("J", hour=moment.hour, minute=moment.minute, second=moment.second)


def _seconds(value: str | None) -> int:
    """Raises InputError."""
    try:
        return int(value or "")
    except ValueError:
        raise InputError("by how many seconds? write adjust 30, or adjust -30") from None


def _read(call: Call) -> None:
    def told(moment: MeterTime) -> Report:
        return show.clock_read(moment.isoformat(), _difference(moment, dt.datetime.now()))

    call.run(lambda head_end: read_clock(), told, meaning="clock read")


def _adjust(call: Call, value: str | None, by_gateway: bool, in_steps: bool) -> None:
    seconds = _seconds(value)
    meaning = f"clock adjust {seconds}"
    if by_gateway:
        sent = "sent; the device works it off within 12 hours"
        call.run(lambda head_end: adjust_by_gateway(seconds), lambda found: show.done(sent), meaning=meaning)
    elif in_steps:
        call.run(
            lambda head_end: adjust_in_steps(head_end, call.device, seconds, issue=call.issue),
            lambda steps: show.done(f"adjusted by {seconds} s in {steps} steps"),
            meaning=meaning,
        )
    else:
        call.run(
            lambda head_end: adjust_clock(head_end, call.device, seconds, issue=call.issue),
            lambda found: show.confirmed(found, f"accepted; {seconds} s are worked off within 12 hours"),
            meaning=meaning,
        )


def _correct(call: Call, value: str | None, by_gateway: bool) -> None:
    moment = _type_j(_moment(value))
    meaning = f"clock correct {moment.isoformat()}"
    if by_gateway:
        call.run(lambda head_end: correct_by_gateway(moment), lambda found: show.done("sent"), meaning=meaning)
        return
    call.run(
        lambda head_end: correct_clock(head_end, call.device, moment, issue=call.issue),
        lambda found: show.confirmed(found, "accepted; up to 60 s are worked off within 12 hours"),
        meaning=meaning,
    )


def _set(call: Call, value: str | None) -> None:
    moment = _moment(value)
    call.run(
        lambda head_end: set_clock(head_end, call.device, moment, issue=call.issue),
        lambda found: show.confirmed(found, f"set to {moment.isoformat()}"),
        meaning=f"clock set {moment.isoformat()}",
        danger=f"{call.device}: set the clock to {moment.isoformat()}. Billing values may be assigned to other periods.",
    )


def clock(
    call: Call,
    action: Annotated[ClockAction, typer.Argument(help="What to do.")],
    value: Annotated[
        str | None, typer.Argument(help="adjust: seconds; correct, set: local time (default: now).", metavar="[SECONDS | TIME]")
    ] = None,
    by_gateway: Annotated[
        bool, typer.Option("--by-gateway", help="adjust, correct: protected by the link only (UC-04a).")
    ] = False,
    in_steps: Annotated[bool, typer.Option("--in-steps", help="adjust: more than 60 s, a step every 12 hours.")] = False,
) -> None:
    """Read, adjust, correct or set the clock (UC-04).

    A clock is adjusted by 60 s at most, which the device works off within 12 hours; setting it takes effect at once.
    """
    if action is ClockAction.read:
        _read(call)
    elif action is ClockAction.adjust:
        _adjust(call, value, by_gateway, in_steps)
    elif action is ClockAction.correct:
        _correct(call, value, by_gateway)
    else:
        _set(call, value)


COMMANDS = (
    ("valve", valve, VALVE_EPILOG),
    ("breaker", breaker, BREAKER_EPILOG),
    ("clock", clock, CLOCK_EPILOG),
)
