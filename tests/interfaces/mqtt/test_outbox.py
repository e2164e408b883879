"""Messages that wait: the newest state of each topic, events in their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from openmetering.interfaces.mqtt.meters import Message
from openmetering.interfaces.mqtt.outbox import Outbox


def state(topic: str, text: str) -> Message:
    return Message(topic, text.encode())


def event(text: str) -> Message:
    return Message("events", text.encode(), retain=False)


def test_only_the_newest_state_waits() -> None:
    box = Outbox()
    box.put([state("a", "1"), state("b", "1"), state("a", "2")])
    assert box.head(10) == [state("a", "2"), state("b", "1")]
    assert len(box) == 2


def test_events_wait_in_order_and_the_oldest_go() -> None:
    box = Outbox(limit=2)
    box.put([event("1"), event("2"), event("3")])
    assert (box.head(10), box.dropped) == ([event("2"), event("3")], 1)


def test_a_state_that_changed_under_way_stays() -> None:
    box = Outbox()
    box.put([state("a", "1")])
    sent = box.head(1)[0]
    box.put([state("a", "2")])
    box.done(sent)
    assert box.head(1) == [state("a", "2")]
    box.done(box.head(1)[0])
    assert len(box) == 0


def test_acknowledgements_may_overtake_each_other() -> None:
    box = Outbox()
    box.put([event("1"), event("2"), event("3")])
    first, second, third = box.head(3)
    box.done(second)
    assert box.head(3) == [first, third]
    box.done(second)  # dropped or done before: nothing
    box.done(first)
    box.done(third)
    assert len(box) == 0


def test_head_takes_no_more_than_it_is_asked_for() -> None:
    box = Outbox()
    box.put([state("a", "1"), state("b", "1"), event("1"), event("2")])
    assert [len(box.head(count)) for count in range(6)] == [0, 1, 2, 3, 4, 4]


def test_news_wake() -> None:
    box, woken = Outbox(), []
    box.put([event("1")])
    box.wake = lambda: woken.append(1)
    box.put([event("2")])
    assert woken == [1]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9))))
def test_what_is_taken_in_the_end_is_the_last_of_each_topic(puts: list[tuple[str, int]]) -> None:
    box, broker = Outbox(), {}
    for number, (topic, value) in enumerate(puts):
        box.put([state(topic, str(value))])
        if number % 3 == 0:
            for message in box.head(1):
                broker[message.topic] = message.payload
                box.done(message)
    while batch := box.head(2):
        for message in batch:
            broker[message.topic] = message.payload
            box.done(message)
    assert broker == {topic: str(value).encode() for topic, value in puts}
