"""What a device answers, and refusals in words.

    application error   CI 6E, 6F, 70: a code, neither encrypted nor authenticated
    SITP status         DSI 22: a status octet, protected like the command
    anything else       the data that were asked for

Source: OMS Volume 2 5.0.1 Table 40; Annex F release C Table F.A.7; Annex M release C M.1.5 (clause to confirm).
"""

from __future__ import annotations

from openmetering.codec.apl import application_error, records, security_transfer
from openmetering.codec.apl.records import Record
from openmetering.codec.apl.security_transfer import SecurityTransfer, SitpBlock, StatusResponse
from openmetering.errors import DecodeError, ExchangeFailed, ProtocolError, Refused
from openmetering.protocol.exchange import Answered, Command
from openmetering.protocol.operator.steps import Ask, Procedure
from openmetering.tables import sitp_status

__all__ = ["answer_block", "ask", "error_refusal", "exchange", "payload", "read_records", "send_block", "status_refusal"]

#: protocols whose commands are answered in the same protocol, or with an application error
_OWN_ANSWERS = frozenset(("sitp", "image"))
#: commands of Annex F that Tables F.31 and F.32 let answer with another code than command + 80h
_OTHER_ANSWER = {0x01: 0x84}


def error_refusal(octets: bytes) -> Refused:
    """An application error as a refusal in words."""
    error = application_error.decode(octets)
    meaning = f": {error.meaning}" if error.meaning else ""
    return Refused(f"the device refuses: {error.name}{meaning} (application error {error.code:02X}h)", error=error.code)


def status_refusal(status: int) -> Refused:
    """A SITP status as a refusal in words."""
    entry = sitp_status(status)
    return Refused(f"the device refuses: {entry.status_class}, {entry.name} (SITP status {status:02X}h)", status=status)


def payload(answered: Answered, protocol: str) -> bytes:
    """The octets of an answer of a protocol.

    A device that lost its power behind a command has forgotten the answer and gives its standard response (M-Bus
    data), which is never the answer to a container or to an image command: that answer is lost.
    Raises Refused for an application error, ExchangeFailed, DecodeError (``answer.protocol``) for another protocol.
    """
    if answered.protocol == "application-error":
        raise error_refusal(answered.payload)
    if answered.protocol == "m-bus" and protocol in _OWN_ANSWERS:
        raise ExchangeFailed(
            "the device gives its standard response: it has forgotten the command", reason="no-answer", delivered=None
        )
    if answered.protocol != protocol:
        raise DecodeError(
            f"the answer is of the protocol {answered.protocol or 'none'}, expected {protocol}",
            layer="apl",
            octets=answered.payload,
            code="answer.protocol",
        )
    if answered.error and protocol != "sitp":
        raise Refused("the device reports an application error and does not say which")
    return answered.payload


def ask(command: Command | None, *, answer: bool = True) -> Procedure[Answered]:
    """One exchange, whatever comes back. Raises ExchangeFailed; ProtocolError if the driver resumes without an answer."""
    answered = yield Ask(command, answer)
    if answered is None:
        raise ProtocolError("an exchange", "resumed without an answer")
    return answered


def exchange(command: Command) -> Procedure[bytes]:
    """Seq_SND-UDx with a command of any protocol whose answer is M-Bus data or of the protocol of the command.

    Raises Refused, ExchangeFailed, DecodeError.
    """
    answered = yield from ask(command)
    expected = {"application-reset": "m-bus", "clock": "m-bus"}.get(command.protocol, command.protocol)
    return payload(answered, expected)


def read_records(octets: bytes) -> tuple[Record, ...]:
    """The records of an answer. Raises DecodeError where their structure breaks."""
    parsed = records.parse(octets)
    if parsed.fault is not None:
        raise parsed.fault
    return tuple(parsed.records)


def answer_block(command: SitpBlock, octets: bytes) -> SitpBlock:
    """The block that answers a block: BCF + 80h and the same BID.

    Raises DecodeError (``answer.block``) if there is none.
    """
    codes = {command.control | security_transfer.RESPONSE, _OTHER_ANSWER.get(command.control)}
    for block in security_transfer.decode(octets).blocks:
        if block.control in codes and block.block_id == command.block_id:
            return block
    raise DecodeError(f"no block answers the command {command.control:02X}h", layer="apl", octets=octets, code="answer.block")


def send_block(block: SitpBlock) -> Procedure[SitpBlock]:
    """Send one block and return the one that answers it.

    Raises Refused for an application error and for a status (DSI 22) that is no success; ExchangeFailed, DecodeError.
    """
    octets = yield from exchange(Command("sitp", SecurityTransfer((block,)).encode()))
    answer = answer_block(block, octets)
    structure = answer.read()
    if isinstance(structure, StatusResponse) and not structure.success:
        raise status_refusal(structure.status)
    return answer
