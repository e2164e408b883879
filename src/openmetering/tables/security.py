"""Security: modes, keys, SITP services and structures, MAC lengths of the AFL.

Source   EN 13757-7:2018 (clauses to confirm); OMS Volume 2 issue 5.0.1, Tables 43 and 45;
         OMS Volume 2 Annex F release C 1.1.1, Tables F.A.3, F.A.5, F.A.6, F.A.7
"""

from __future__ import annotations

import msgspec

from openmetering.tables._load import decimals, hexadecimal, numbers, optional, rows

__all__ = [
    "AFL_ALGORITHMS",
    "AFL_ALGORITHM_NAMES",
    "KEY_IDS",
    "SECURITY_MODES",
    "SITP_BCF",
    "SITP_DSI",
    "SITP_PID",
    "SITP_STATUS",
    "KeyIdentifier",
    "SecurityMode",
    "SitpService",
    "SitpStatus",
    "SitpStructure",
    "sitp_status",
]


class SecurityMode(msgspec.Struct, frozen=True):
    """One security mode; ``handling`` is ``open``, ``recognise`` (reported, not opened) or ``reserved``."""

    mode: int
    name: str
    encryption: str
    authentication: str
    profile: str
    handling: str
    confidence: str


class KeyIdentifier(msgspec.Struct, frozen=True):
    """One KeyID; ``wrapper`` is the KeyID of the key that wraps it, None if none is known."""

    code: int
    name: str
    group: str
    wrapper: int | None
    confidence: str


class SitpService(msgspec.Struct, frozen=True):
    """One block control field: command, response and the structures (DSI) each may carry."""

    command: int
    response: int
    name: str
    command_structures: tuple[int, ...]
    response_structures: tuple[int, ...]


class SitpStructure(msgspec.Struct, frozen=True):
    """One data structure identifier; ``mac_length`` in octets where it ends with a MAC or tag."""

    code: int
    name: str
    header: str
    mac_length: int | None
    confidence: str


class SitpStatus(msgspec.Struct, frozen=True):
    """One status octet of structure 22h."""

    code: int
    status_class: str
    name: str


def _modes() -> tuple[SecurityMode, ...]:
    return tuple(
        SecurityMode(
            mode, row["name"], row["encryption"], row["authentication"], row["profile"], row["handling"], row["confidence"]
        )
        for row in rows("security_modes.csv")
        for mode in decimals(row["mode"])
    )


def _keys() -> tuple[KeyIdentifier, ...]:
    return tuple(
        KeyIdentifier(code, row["name"], row["group"], int(row["wrapper"], 16) if row["wrapper"] else None, row["confidence"])
        for row in rows("key_ids.csv")
        for code in hexadecimal(row["code"])
    )


def _services() -> dict[int, SitpService]:
    return {
        command: SitpService(command, response, row["name"], numbers(row["command_dsi"]), numbers(row["response_dsi"]))
        for row in rows("sitp_bcf.csv")
        for command, response in zip(hexadecimal(row["command"]), hexadecimal(row["response"]), strict=True)
    }


def _structures() -> dict[int, SitpStructure]:
    return {
        code: SitpStructure(code, row["name"], row["header"], optional(row["mac_length"]), row["confidence"])
        for row in rows("sitp_dsi.csv")
        for code in hexadecimal(row["code"])
    }


def _statuses() -> dict[int, SitpStatus]:
    return {
        code: SitpStatus(code, row["class"], row["name"]) for row in rows("sitp_status.csv") for code in hexadecimal(row["code"])
    }


#: indexed by the mode, 0 to 31
SECURITY_MODES: tuple[SecurityMode, ...] = _modes()
#: indexed by the KeyID
KEY_IDS: tuple[KeyIdentifier, ...] = _keys()
#: command -> service; the response is the command plus 80h
SITP_BCF: dict[int, SitpService] = _services()
SITP_DSI: dict[int, SitpStructure] = _structures()
SITP_STATUS: dict[int, SitpStatus] = _statuses()
#: protocol identifier -> application protocol, named as in CONTROL_INFORMATION
SITP_PID: dict[int, str] = {int(row["code"], 16): row["protocol"] for row in rows("sitp_pid.csv")}

_AFL = rows("afl_algorithms.csv")
#: AT of the message control field -> octets of the MAC
AFL_ALGORITHMS: dict[int, int] = {int(row["code"]): int(row["mac_length"]) for row in _AFL}
AFL_ALGORITHM_NAMES: dict[int, str] = {int(row["code"]): row["name"] for row in _AFL}

# the rest of EN 13757-7 Table A.13 is not public: unknown values are classed by the high digit
_CLASS_OF_DIGIT = {0x0: "information", 0x1: "header error", 0x2: "content error", 0x8: "asymmetric error"}


def sitp_status(code: int) -> SitpStatus:
    """The meaning of a status octet; unknown values keep the class of their high digit.

    Octets   0  status of structure 22h
    Source   OMS Volume 2 Annex F release C 1.1.1, Table F.A.7; EN 13757-7 Table A.13
    Units    none
    Raises   nothing
    """
    return SITP_STATUS.get(code) or SitpStatus(code, _CLASS_OF_DIGIT.get(code >> 4, "unknown"), "not listed")
