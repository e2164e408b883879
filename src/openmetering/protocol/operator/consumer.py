"""UC-07, consumer information: the data a consumer display needs, read through a gateway.

    Seq_SND-UDx [App-Select, MBus-Data]   message application 18 (CC 00, content index 0011)

How application 18 is written in an application select is not public: the caller gives its octets.
UC-07a is protected by link key 00, UC-07b by link key 08 (chosen by whoever holds the link).
Source: OMS Volume 2 Annex M release C M.2.8 (clause to confirm); 5.0.1 Table 41.
"""

from __future__ import annotations

from openmetering.codec.apl.application_select import ApplicationReset
from openmetering.codec.apl.records import Record
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.answers import exchange, read_records
from openmetering.protocol.operator.differences import require_use_case
from openmetering.protocol.operator.steps import Procedure

__all__ = ["CONSUMER_APPLICATION", "read_consumer_information"]

CONSUMER_APPLICATION = 18


def read_consumer_information(raw: bytes | None = None, *, issue: str = "5.0.1") -> Procedure[tuple[Record, ...]]:
    """UC-07: select message application 18 and read it. ``raw`` is its coding.

    Source   OMS Volume 2 Annex M release C M.2.8 (clause to confirm)
    Raises   NotRepresentable (``application.coding``) without ``raw``; Refused, ExchangeFailed, DecodeError
    """
    require_use_case(issue, "UC-07")
    select = ApplicationReset.select(CONSUMER_APPLICATION, raw=raw)
    octets = yield from exchange(Command("application-reset", select.encode()))
    return read_records(octets)
