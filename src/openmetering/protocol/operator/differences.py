"""What differs between the releases of Annex M, as the head-end sees it: one table.

    4.3.3   Annex M release A: wording "meter/actuator", three steps of key management, key lists with ASP01
    5.0.1   Annex M release C: "OMS end-device", two steps, lists without ASP, use cases 07, 12, 14 and 20

The container of secured commands is the same in both: release A prints the names MBus-Cmd, Clock-Sync
and ITP-Cmd where release C prints SITP-Cmd, but demands the same ASP10 parameters, and these exist only
inside SITP. Release A lets an operator skip the completion of a firmware transfer; it may be asked for in
both, so it always is. Source: OMS Volume 2 Annex M release A 1.0.3 and release C 1.1.1.
"""

from __future__ import annotations

import msgspec

from openmetering.errors import NotRepresentable

__all__ = ["DIFFERENCES", "Differences", "differences", "require_use_case"]

_FIRST = frozenset(("UC-00", "UC-01", "UC-03", "UC-04", "UC-05", "UC-06", "UC-08"))


class Differences(msgspec.Struct, frozen=True):
    """One release.

    ``use_cases``              those it defines
    ``lists_name_wrapper``     key lists are asked for with ASP01: the DSH names the wrapper key
    ``keys_can_be_destroyed``  BCF 03 is part of UC-08
    ``clock_type_m``           UC-04: TC 05 and 06 exist
    ``long_answer_surplus``    UC-00 function 33: octets that LVAR may be short of (the misprint A1h of release A)
    ``clear_mm2``, ``clear_mm3``, ``clear_all``  VIB of the commands of UC-06
    """

    issue: str
    use_cases: frozenset[str]
    lists_name_wrapper: bool
    keys_can_be_destroyed: bool
    clock_type_m: bool
    long_answer_surplus: int
    clear_mm2: bytes
    clear_mm3: bytes
    clear_all: bytes


_CLEAR_MM2 = bytes.fromhex("FD9706")
_CLEAR_MM3 = bytes.fromhex("FD979D06")
_CLEAR_ALL = bytes.fromhex("FD979D07")

#: issue of OMS Volume 2 -> what is different. The octets of XMM2!, XMM3! and XMM4! of release A were
#: withdrawn and are not printed [?]: those of release C stand in their place, here and nowhere else
DIFFERENCES: dict[str, Differences] = {
    "4.3.3": Differences("4.3.3", _FIRST, True, True, False, 1, _CLEAR_MM2, _CLEAR_MM3, _CLEAR_ALL),
    "5.0.1": Differences(
        "5.0.1",
        _FIRST | {"UC-07", "UC-12", "UC-14", "UC-20"},
        False,
        False,
        True,
        0,
        _CLEAR_MM2,
        _CLEAR_MM3,
        _CLEAR_ALL,
    ),
}


def differences(issue: str) -> Differences:
    """The row of an issue. Raises NotRepresentable for another one."""
    row = DIFFERENCES.get(issue)
    if row is None:
        known = " or ".join(DIFFERENCES)
        raise NotRepresentable(f"the issue of OMS Volume 2 is {known}, got {issue!r}", field="oms_issue", value=issue)
    return row


def require_use_case(issue: str, use_case: str) -> Differences:
    """The row of an issue that defines a use case. Raises NotRepresentable, before anything is sent."""
    row = differences(issue)
    if use_case not in row.use_cases:
        raise NotRepresentable(
            f"{use_case} is not defined in OMS Volume 2 issue {issue}", field="use_case", value=use_case, layer="apl"
        )
    return row
