"""Annex I: tries, windows, and two gateways that want the same one."""

from __future__ import annotations

import pytest

from openmetering.protocol.gateway.collision import TRIES, Advice, Avoidance, Incident
from tests.protocol.gateway_bench import dice

W, S, F, A = Incident.WINDOW, Incident.SILENCE, Incident.FOREIGN, Incident.ANSWER


def test_the_first_two_tries_use_the_first_window() -> None:
    avoidance = Avoidance(dice(0.9))
    assert [avoidance.note(W) for _ in range(2)] == [Advice.TRANSMIT] * 2
    assert (avoidance.n, avoidance.t, avoidance.chosen) == (3, 1, 2)


@pytest.mark.parametrize(
    ("roll", "advice"),
    [(0.0, [Advice.TRANSMIT, Advice.WAIT]), (0.49, [Advice.TRANSMIT, Advice.WAIT]), (0.5, [Advice.WAIT, Advice.TRANSMIT])],
)
def test_later_tries_use_one_of_two_windows_at_random(roll: float, advice: list[Advice]) -> None:
    avoidance = Avoidance(dice(roll))
    avoidance.note(W)
    avoidance.note(W)
    for _ in range(TRIES - 2):
        assert [avoidance.note(W), avoidance.note(W)] == advice
    assert avoidance.note(W) is Advice.GIVE_UP
    assert avoidance.note(W) is Advice.GIVE_UP


def test_twenty_windows_are_watched_at_most() -> None:
    avoidance = Avoidance(dice(0.9))
    advice = [avoidance.note(W) for _ in range(25)]
    assert advice.count(Advice.TRANSMIT) == TRIES == 11
    assert advice.index(Advice.GIVE_UP) == 20


def test_an_answer_to_another_partner_changes_nothing() -> None:
    avoidance = Avoidance(dice(0.9))
    for _ in range(5):
        assert avoidance.note(F) is Advice.WAIT
    assert (avoidance.n, avoidance.t) == (1, 1)
    avoidance.note(W)
    avoidance.note(W)
    avoidance.note(W)  # the first of two, left out
    assert avoidance.note(F) is Advice.WAIT
    assert avoidance.t == 2


def test_an_answer_starts_anew() -> None:
    avoidance = Avoidance(dice(0.9))
    for _ in range(5):
        avoidance.note(W)
    assert avoidance.note(A) is Advice.DONE
    assert (avoidance.n, avoidance.t, avoidance.chosen) == (1, 1, 1)
    assert avoidance.note(W) is Advice.TRANSMIT


def test_silence_is_a_try_too() -> None:
    avoidance = Avoidance(dice(0.0), tries=3)
    assert [avoidance.note(S) for _ in range(4)] == [Advice.WAIT, Advice.WAIT, Advice.GIVE_UP, Advice.GIVE_UP]
    assert avoidance.note(W) is Advice.GIVE_UP
    avoidance.restart()
    assert avoidance.note(W) is Advice.TRANSMIT


def test_every_incident_has_a_rule() -> None:
    for incident in Incident:
        assert isinstance(Avoidance(dice(0.0)).note(incident), Advice)


def test_two_gateways_find_each_other_a_window() -> None:
    """They collide in tries 1 and 2; from then on one of them is alone with probability one half a try."""
    first, second = Avoidance(dice(0.1, 0.9, 0.1)), Avoidance(dice(0.2, 0.3, 0.3))
    seen = [(first.note(W), second.note(W)) for _ in range(6)]
    both = (Advice.TRANSMIT, Advice.TRANSMIT)
    assert seen[:3] == [both, both, both]  # n = 1, n = 2, n = 3 with the same T
    assert seen[3] == (Advice.WAIT, Advice.WAIT)
    assert seen[4] == (Advice.WAIT, Advice.TRANSMIT)
    assert seen[5] == (Advice.TRANSMIT, Advice.WAIT)
