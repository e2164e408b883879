"""Collision avoidance of a gateway: which of the windows of an end-device a datagram uses.

A try is one transmission with the time to the next one. The gateway counts tries (n, at most N), and in
each try the datagrams of the target that leave a window (t). It transmits in the window number T:

    try n      windows watched    window used T
    1          1                  1
    2          1                  1
    3 .. N     2                  1 or 2, at random

so N = 11 tries watch 1 + 1 + 9 * 2 = 20 windows at most, and of two gateways that want the same window
each leaves one of two unused from the third try on.

    what was heard                               what to do
    answer to the datagram                       done: the next datagram starts at n = 1
    answer of the target to another partner      keep waiting, t stays
    any other datagram of the target             window t == T: transmit; then t + 1, or the next try
    nothing for too long                         next try
    tries used up                                give up

Source: OMS Volume 2 5.0.1 Annex I, I.2 and I.5. The end of a try follows the number 20 of I.5: tries one and
two end after one window that was in vain.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import Final

from openmetering.protocol.machine import Dice

__all__ = ["TRIES", "Advice", "Avoidance", "Incident"]

TRIES: Final = 11  #: N of Annex I
_WATCHED: Final = {1: 1, 2: 1}  #: windows watched in a try; two in all others
_WATCHED_LATER: Final = 2


class Incident(Enum):
    """What was heard of the target."""

    ANSWER = "answer to the datagram"
    FOREIGN = "answer to another partner"
    WINDOW = "datagram with a window"
    SILENCE = "nothing for too long"


class Advice(Enum):
    """What to do about it."""

    DONE = "done"
    WAIT = "wait"
    TRANSMIT = "transmit"
    GIVE_UP = "give up"


class Avoidance:
    """The counters of Annex I for one datagram.

    ``tries`` is N; ``dice`` chooses the window from the third try on. ``n``, ``t`` and ``chosen`` (T) are
    the variables of the standard.
    """

    __slots__ = ("_dice", "chosen", "n", "t", "tries")

    def __init__(self, dice: Dice, tries: int = TRIES) -> None:
        self._dice = dice
        self.tries = tries
        self.n = self.t = self.chosen = 1

    def note(self, incident: Incident) -> Advice:
        """Take what was heard; tell what to do. After GIVE_UP the advice stays GIVE_UP until ``restart``."""
        return _RULES[incident](self)

    def restart(self) -> None:
        """The next datagram: n = 1, t = 1, T = 1."""
        self.n = self.t = self.chosen = 1

    def _done(self) -> Advice:
        self.restart()
        return Advice.DONE

    def _wait(self) -> Advice:
        return Advice.WAIT

    def _window(self) -> Advice:
        if self.n > self.tries:
            return Advice.GIVE_UP
        use = self.t == self.chosen
        self.t += 1
        if self.t > _WATCHED.get(self.n, _WATCHED_LATER):
            self._next_try()
        return Advice.TRANSMIT if use else Advice.WAIT

    def _silence(self) -> Advice:
        self._next_try()
        return Advice.GIVE_UP if self.n > self.tries else Advice.WAIT

    def _next_try(self) -> None:
        self.n = min(self.n + 1, self.tries + 1)
        self.t = 1
        self.chosen = 1 if self.n in _WATCHED else 1 + int(_WATCHED_LATER * self._dice())


_RULES: Final[dict[Incident, Callable[[Avoidance], Advice]]] = {
    Incident.ANSWER: Avoidance._done,
    Incident.FOREIGN: Avoidance._wait,
    Incident.WINDOW: Avoidance._window,
    Incident.SILENCE: Avoidance._silence,
}
