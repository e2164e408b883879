"""Values for other programs and companies as files: CSV, JSON lines, Parquet, MSCONS, bved."""

from __future__ import annotations

from typing import Annotated, Literal

from litestar import Response, get
from litestar.params import QueryParameter

from openmetering.interfaces.reports.records import record_octets
from openmetering.interfaces.web.pages.forms import beginning, day_of
from openmetering.interfaces.web.pages.inputs import OptionalId, Text
from openmetering.interfaces.web.pages.reports import usual_times
from openmetering.interfaces.web.pages.visit import Visiting
from openmetering.services.headend.problems import invalid
from openmetering.services.mdm.exchange import Partners

__all__ = ["export_file"]

Kind = Annotated[Literal["values", "mscons", "bved"], QueryParameter(name="kind")]
Every_ = Annotated[Literal["value", "hour", "day", "month"], QueryParameter(name="every")]
Form_ = Annotated[Literal["csv", "jsonl", "parquet"], QueryParameter(name="form")]
Hidden = Annotated[str, QueryParameter(name="hidden", max_length=8)]


@get("/exports/file", sync_to_thread=True)
def export_file(
    visit: Visiting, kind: Kind = "values", node: OptionalId = None, day: Text = "", since: Text = "", until: Text = "",
    every: Every_ = "day", form: Form_ = "csv", hidden: Hidden = "", sender: Text = "", recipient: Text = "",
    customer: Text = "",
) -> Response[bytes]:  # fmt: skip
    """A file of what was asked for."""
    session, usual = visit.session, usual_times(visit)
    session.require("read", "exports", "export_file")
    day, since, until = day or usual["day"], since or usual["since"], until or usual["until"]
    if kind == "mscons":
        for number in (sender, recipient):
            if not (number.isdecimal() and len(number) == 13):
                raise invalid("the number of a market partner has 13 digits")
        found = session.export_due_dates(day_of(day), Partners(sender, recipient), node)
        return _file(found.octets, "application/edifact", f"readings-{day}.edi")
    begin, end = (beginning(day_of(text), session.zone) for text in (since, until))
    if kind == "bved":
        if not (customer.isdecimal() and len(customer) == 10):
            raise invalid("a customer number has 10 digits")
        found = session.export_results(begin, end, customer, node_id=node)
        return _file(found.octets, "text/plain; charset=iso-8859-15", f"results-{until}.dat")
    octets, media = record_octets(session.export_values(begin, end, every, bool(hidden), node_id=node), form)
    return _file(octets, media, f"values-{since}.{form}")


def _file(octets: bytes, media: str, name: str) -> Response[bytes]:
    return Response(octets, media_type=media, headers={"content-disposition": f'attachment; filename="{name}"'})
