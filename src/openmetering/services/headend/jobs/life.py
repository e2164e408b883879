"""States of a job, what leads from one to the next, and when an attempt that failed is made again.

    state              event     next
    draft              submit    queued, or awaiting-approval where a second person is needed (ask)
    awaiting-approval  approve   queued
    queued             begin     running
    running            wait      queued                      nobody reaches the device; nothing was sent
    running            retry     running                     the device did not answer; again later
    running            done, failed, refused, unknown, cancelled
    unknown            resume    queued                      find out what became of it; nothing is executed twice
    draft, awaiting-approval, queued    cancel    cancelled

A job that is under way stays running between its attempts: another job for the same device waits until it is over.
It is not taken back by a change of state: whoever carries it out stops, finds out whether the device took the
command, and says what it was.
"""

from __future__ import annotations

from typing import Final, Literal

import msgspec

from openmetering.errors import DecodeError, ExchangeFailed, OmsError, Refused, SecurityError
from openmetering.protocol.operator.journal import Journal
from openmetering.services.headend.jobs.kinds import FIRMWARE, KEY_MANAGEMENT, Plan
from openmetering.services.headend.problems import conflict
from openmetering.storage.model import JobState

__all__ = ["OVER", "TRANSITIONS", "Ending", "Event", "Retries", "ending", "next_state", "unsettled"]

Event = Literal[
    "submit", "ask", "approve", "begin", "wait", "retry", "done", "failed", "refused", "unknown", "cancelled", "resume", "cancel"
]

#: (state, event) -> next state; ``ask`` is submitting what needs a second person
TRANSITIONS: Final[dict[tuple[JobState, Event], JobState]] = {
    ("draft", "submit"): "queued",
    ("draft", "ask"): "awaiting-approval",
    ("draft", "cancel"): "cancelled",
    ("awaiting-approval", "approve"): "queued",
    ("awaiting-approval", "cancel"): "cancelled",
    ("queued", "begin"): "running",
    ("queued", "cancel"): "cancelled",
    ("running", "wait"): "queued",
    ("running", "retry"): "running",
    ("running", "done"): "done",
    ("running", "failed"): "failed",
    ("running", "refused"): "refused",
    ("running", "unknown"): "unknown",
    ("running", "cancelled"): "cancelled",
    ("unknown", "resume"): "queued",
}
OVER: Final[tuple[JobState, ...]] = ("done", "failed", "refused", "unknown", "cancelled")


def next_state(state: str, event: Event) -> JobState:
    """The state behind an event. Raises InputError (``access.conflict``) if the state does not allow it."""
    for (before, happened), after in TRANSITIONS.items():
        if before == state and happened == event:
            return after
    raise conflict(f"the job is {state}: it cannot be {_WORDS.get(event, event)}")


_WORDS: Final[dict[str, str]] = {
    "submit": "submitted",
    "ask": "submitted",
    "approve": "approved",
    "begin": "begun",
    "wait": "put back",
    "retry": "tried again",
    "resume": "taken up again",
    "cancel": "cancelled",
}


class Retries(msgspec.Struct, frozen=True):
    """How often a device that does not answer is tried, and the seconds between: the last one counts for all further."""

    attempts: int = 5
    delays: tuple[float, ...] = (60.0, 300.0, 1800.0, 7200.0)

    def delay(self, attempts: int) -> float | None:
        """Seconds until the next attempt when ``attempts`` were made; None: no more."""
        if attempts >= self.attempts:
            return None
        return self.delays[min(attempts, len(self.delays)) - 1]


class Ending(msgspec.Struct, frozen=True):
    """What an error makes of a job: an end in words, or ``retry`` to try again if there are attempts left."""

    event: Literal["retry", "failed", "refused", "unknown"]
    words: str


def unsettled(journal: Journal, key_id: int) -> bool:
    """True if the device may have done something under a KeyID of which nobody knows: a command, an activation.

    ``key_id`` as in ``Plan``: 10h for all that key management leaves open.
    """
    image = journal.image
    open_ = {
        KEY_MANAGEMENT: bool(journal.renewals),
        FIRMWARE: image is not None and image.stage == "activating",
    }
    return open_.get(key_id, False) or journal.command(key_id) is not None


def ending(error: OmsError, plan: Plan, journal: Journal, *, last: bool) -> Ending:
    """What an attempt that ended with an error means; ``last``: there are no more attempts."""
    words = error.message
    if isinstance(error, Refused):
        return Ending("refused", words)
    open_ = plan.effect == "journal" and unsettled(journal, plan.key_id)
    if isinstance(error, ExchangeFailed):
        if plan.effect == "once" and error.delivered is not False:
            return Ending("unknown", words)
        if not last:
            return Ending("retry", words)
    elif open_ and isinstance(error, DecodeError | SecurityError) and not last:
        return Ending("retry", words)
    return Ending("unknown" if open_ else "failed", words)
