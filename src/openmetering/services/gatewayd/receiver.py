"""The other end of the way up: reports become stored telegrams, orders wait for the gateway that shall carry them out.

    report --telegrams--> ``ingest`` (durable when it returns) --> reply: stored
           --results-->   ``on_result``                        --> reply: results
                          orders of this gateway without result --> reply: orders

An order goes down with every reply until its result came up; the gateway carries it out once. Which orders are open is
the caller's to remember over a restart: ``order`` again with the same id does no harm. Safe to call from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from openmetering.services.gatewayd.messages import News, Order, Reply, Report, Result, receptions_of
from openmetering.transport.reception import Reception

__all__ = ["Receiver"]


def _nothing(*_: object) -> None:
    """Nobody wants to know."""


class Receiver:
    """Takes reports of any number of gateways.

    ``ingest`` stores receptions of a gateway (its name comes second), the same one once, and returns when they are
    durable; what it raises leaves the report unanswered, so that it comes again. ``on_result`` and ``on_news`` get the
    name of the gateway first; a result may come more than once. ``on_order`` is told for which gateway there is
    something new: who can, sends ``reply`` at once.
    """

    def __init__(
        self,
        ingest: Callable[[Sequence[Reception], str], object],
        *,
        on_result: Callable[[str, Result], None] = _nothing,
        on_news: Callable[[str, News], None] = _nothing,
        on_report: Callable[[Report], None] = _nothing,
        on_order: Callable[[str], None] = _nothing,
    ) -> None:
        self._ingest = ingest
        self._on_result = on_result
        self._on_news = on_news
        self._on_report = on_report
        self._on_order = on_order
        self._orders: dict[str, dict[str, Order]] = {}
        self._lock = threading.Lock()

    def order(self, gateway: str, order: Order) -> None:
        """Have a gateway do something; it hears of it with its next report, or by ``reply``."""
        with self._lock:
            self._orders.setdefault(gateway, {})[order.id] = order
        self._on_order(gateway)

    def withdraw(self, gateway: str, name: str) -> None:
        """Tell an order no more. It may have begun: send a Recall for that."""
        with self._lock:
            self._orders.get(gateway, {}).pop(name, None)

    def waiting(self, gateway: str) -> tuple[Order, ...]:
        """Orders of a gateway that have no result yet."""
        with self._lock:
            return tuple(self._orders.get(gateway, {}).values())

    def reply(self, gateway: str) -> Reply:
        """The orders of a gateway as a message of their own."""
        return Reply(orders=self.waiting(gateway))

    def handle(self, report: Report) -> Reply:
        """Take a report. Raises what ``ingest`` raises."""
        receptions = receptions_of(report)
        if receptions:
            self._ingest(receptions, report.gateway)
        for result in report.results:
            self._on_result(report.gateway, result)
        with self._lock:
            orders = self._orders.get(report.gateway, {})
            for result in report.results:
                orders.pop(result.id, None)
        for news in report.news:
            self._on_news(report.gateway, news)
        self._on_report(report)
        batch = report.batch
        stream, stored = ("", None) if batch is None else (batch.stream, batch.last)
        return Reply(report.id, stream, stored, tuple(one.id for one in report.results), self.waiting(report.gateway))
