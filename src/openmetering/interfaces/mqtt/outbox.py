"""Messages that wait for the broker.

    retained  --> the last one of each topic: while the broker is away only the newest state is kept
    others    --> in their order, the oldest dropped (and counted) beyond a limit

A message leaves when the broker has acknowledged it. Threads put, one task takes.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable

from openmetering.interfaces.mqtt.meters import Message

__all__ = ["Outbox"]


class Outbox:
    """What is not acknowledged yet. ``wake`` is called, in the thread that puts, when something is new."""

    __slots__ = ("_events", "_limit", "_lock", "_retained", "dropped", "wake")

    def __init__(self, limit: int = 10_000) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._retained: OrderedDict[str, Message] = OrderedDict()
        self._events: deque[Message] = deque()
        self.wake: Callable[[], None] | None = None
        #: messages that were lost because there were too many
        self.dropped = 0

    def __len__(self) -> int:
        with self._lock:
            return len(self._retained) + len(self._events)

    def put(self, messages: Iterable[Message]) -> None:
        """Add messages; a retained one takes the place of the one that waits on its topic."""
        with self._lock:
            for message in messages:
                if message.retain:
                    self._retained[message.topic] = message
                    continue
                if len(self._events) >= self._limit:
                    self._events.popleft()
                    self.dropped += 1
                self._events.append(message)
        wake = self.wake
        if wake is not None:
            wake()

    def head(self, count: int) -> list[Message]:
        """The next messages to send, retained ones first (discovery before states: they were put so). They stay."""
        with self._lock:
            found: list[Message] = []
            for message in self._retained.values():
                if len(found) == count:
                    return found
                found.append(message)
            for message in self._events:
                if len(found) == count:
                    return found
                found.append(message)
            return found

    def done(self, message: Message) -> None:
        """A message was acknowledged. A newer one on its topic stays."""
        with self._lock:
            if message.retain:
                if self._retained.get(message.topic) is message:
                    del self._retained[message.topic]
            elif self._events and self._events[0] is message:
                self._events.popleft()
            else:
                self._discard(message)

    def _discard(self, message: Message) -> None:
        """Not the first one: acknowledgements may overtake each other, and old ones may have been dropped."""
        for index, other in enumerate(self._events):
            if other is message:
                del self._events[index]
                return
