"""The table of kinds of jobs: their parameters, what they may harm, and the procedure that carries them out.

    kind          KeyID             second person                  if nobody heard the answer
    register      00                -                              asked again
    read          00                -                              asked again
    disconnector  20, read 00       to set                         settled by the key counter
    clock         21, 22, read 00   -                              settled; by gateway: never sent again, unknown
    firmware      23, state 00      update, terminate              settled, the device tells its state
    supervision   24, read 00       -                              settled by the key counter
    keys          10                renew, destroy                 settled by the journal of the renewal
    select        25                -                              settled by the key counter
    due-date      26, read 00       -                              settled by the key counter
    ownership     26, read 00       -                              settled by the key counter
    consumer      00                -                              asked again
    index         27, read 00       to change                      settled by the key counter
    meter-address 27                always                         settled by the key counter
    test          1F, plain 00      -                              asked again

KeyIDs are the permissions (see ``rights``): 10h stands for key management, 00h for what needs the key of the link only.
Source: OMS Volume 2 5.0.1 Table 45; the use cases in ``protocol.operator``. Who needs a second person is our decision.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Final, Generic, Literal, Protocol, TypeVar, cast
from zoneinfo import ZoneInfo

import msgspec

from openmetering.codec.address import Address
from openmetering.errors import DecodeError, NotRepresentable
from openmetering.protocol.device.adapter import ADAPTER_KEY, merged
from openmetering.protocol.exchange import Command
from openmetering.protocol.operator.adapter import change_index, read_index, set_meter_address
from openmetering.protocol.operator.answers import ask, exchange, payload, read_records
from openmetering.protocol.operator.billing import (
    read_due_dates,
    read_ownership_number,
    set_next_due_date,
    set_ownership_number,
)
from openmetering.protocol.operator.clock import (
    adjust_by_gateway,
    adjust_clock,
    correct_by_gateway,
    correct_clock,
    read_clock,
    set_clock,
    type_i,
)
from openmetering.protocol.operator.conformance import conformance_test
from openmetering.protocol.operator.consumer import read_consumer_information
from openmetering.protocol.operator.disconnector import read_disconnector, set_disconnector
from openmetering.protocol.operator.firmware import (
    FirmwareImage,
    UpdateOptions,
    read_image_state,
    terminate_image,
    update_firmware,
)
from openmetering.protocol.operator.head_end import HeadEnd, wrapper_of
from openmetering.protocol.operator.keys import destroy_key, key_list, renew_key
from openmetering.protocol.operator.registration import Found, read_for_registration
from openmetering.protocol.operator.secured import synchronise_counters
from openmetering.protocol.operator.selection import select_data
from openmetering.protocol.operator.steps import Procedure
from openmetering.protocol.operator.supervision import clear_all_flags, clear_flags, read_status
from openmetering.services.headend.jobs import outcomes
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.services.headend.jobs.parameters import (
    ClockParameters,
    ConsumerParameters,
    DisconnectorParameters,
    DueDateParameters,
    FirmwareParameters,
    IndexParameters,
    KeyParameters,
    MeterAddressParameters,
    OwnershipParameters,
    Parameters,
    ReadParameters,
    RegisterParameters,
    SelectParameters,
    SupervisionParameters,
    TestParameters,
)
from openmetering.services.headend.problems import invalid
from openmetering.services.headend.rights import key_resource
from openmetering.wire.types import MeterTime

__all__ = [
    "FIRMWARE",
    "KEY_MANAGEMENT",
    "KINDS",
    "Effect",
    "JobKind",
    "Plan",
    "Task",
    "kind_of",
    "plan_of",
    "read_parameters",
    "resource",
]

P = TypeVar("P", bound=Parameters)
R = TypeVar("R")

#: what sending it again would do if the first one was executed unheard: nothing; the journal settles it; harm
Effect = Literal["none", "journal", "once"]

_LINK: Final = 0x00
KEY_MANAGEMENT: Final = 0x10
FIRMWARE: Final = 0x23


class Task(Protocol):
    """What a procedure is made from: the head-end with the journal of the device, and the time."""

    head_end: HeadEnd
    device: Address

    def now(self) -> float:
        """Seconds since 1970."""
        ...

    def new_key(self, key_id: int) -> int:
        """Have the next version of a key made (or find the one that waits) and added to the head-end's; the version."""
        ...

    def renewed(self, key_id: int, version: int) -> None:
        """The device uses this version now: the vault learns it together with the end of the job."""
        ...

    def moving(self, address: Address) -> None:
        """The device may have this address when the job is over: keys and journal count for it as well."""
        ...


class Plan(msgspec.Struct, frozen=True):
    """What a job with its parameters is: the KeyID it needs the right for, and how carefully it is handled."""

    meaning: str
    key_id: int
    approval: bool = False
    effect: Effect = "none"


class JobKind(Generic[P]):
    """One row of the table. ``key_id`` is the most demanding one of the kind."""

    __slots__ = ("key_id", "make", "name", "parameters", "plan")

    def __init__(
        self,
        name: str,
        parameters: type[P],
        key_id: int,
        plan: Callable[[P], Plan],
        make: Callable[[Task, P], Procedure[Outcome]],
    ) -> None:
        self.name = name
        self.parameters = parameters
        self.key_id = key_id
        self.plan = plan
        self.make = make


def _then(procedure: Procedure[R], show: Callable[[R], Outcome]) -> Procedure[Outcome]:
    result = yield from procedure
    return show(result)


# -- register, read ------------------------------------------------------------------------------------


def _register(task: Task, wanted: RegisterParameters) -> Procedure[Outcome]:
    return _then(read_for_registration(Found(task.device)), outcomes.registration)


def _read(task: Task, wanted: ReadParameters) -> Procedure[Outcome]:
    octets_of = exchange(Command("application-reset", b"")) if wanted.standard else _request()
    return _then(octets_of, lambda octets: outcomes.readings(read_records(octets), "the device answers"))


def _request() -> Procedure[bytes]:
    answered = yield from ask(None)
    return payload(answered, "m-bus")


# -- disconnector --------------------------------------------------------------------------------------


_DISCONNECTORS: Final = frozenset((0x20, 0x21))  #: breaker and valve as devices of their own; OMS Volume 2 5.0.1 Table 2


def _plan_disconnector(wanted: DisconnectorParameters) -> Plan:
    if wanted.state is None:
        return Plan("read the disconnector", _LINK)
    later = f" after {wanted.delay} s" if wanted.delay else ""
    return Plan(f"disconnector: {wanted.state}{later}", 0x20, approval=True, effect="journal")


def _disconnector(task: Task, wanted: DisconnectorParameters) -> Procedure[Outcome]:
    state = wanted.state
    if state is None:
        return _then(read_disconnector(), outcomes.disconnector)
    part = wanted.part_of_meter or task.device.device_type not in _DISCONNECTORS
    procedure = set_disconnector(task.head_end, task.device, state, part_of_meter=part, delay=wanted.delay, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.disconnector_set(found, state))


# -- clock ---------------------------------------------------------------------------------------------


def _plan_clock(wanted: ClockParameters) -> Plan:
    meaning = {
        "read": "read the clock",
        "adjust": f"adjust the clock by {wanted.seconds} s",
        "correct": "correct the clock",
        "set": "set the clock",
    }[wanted.action]
    if wanted.action == "read":
        return Plan(meaning, _LINK)
    if wanted.by_gateway:
        return Plan(f"{meaning}, by the gateway", _LINK, effect="once")
    return Plan(meaning, 0x22 if wanted.action == "set" else 0x21, effect="journal")


def _local(task: Task, wanted: ClockParameters) -> dt.datetime:
    """The time that the clock of the device should show, naive, whole seconds."""
    moment = dt.datetime.fromtimestamp(round(task.now()), ZoneInfo(wanted.zone))
    naive = moment.replace(tzinfo=None)
    return naive if wanted.summer else naive - (moment.dst() or dt.timedelta())


def _summer(task: Task, wanted: ClockParameters) -> bool:
    moment = dt.datetime.fromtimestamp(task.now(), ZoneInfo(wanted.zone))
    return wanted.summer and bool(moment.dst())


def _clock_read(task: Task, wanted: ClockParameters) -> Procedure[Outcome]:
    return _then(read_clock(), lambda told: outcomes.clock_read(told, _local(task, wanted)))


def _clock_adjust(task: Task, wanted: ClockParameters) -> Procedure[Outcome]:
    words = f"accepted; {wanted.seconds} s are worked off within 12 hours"
    if wanted.by_gateway:
        return _then(adjust_by_gateway(wanted.seconds), lambda found: outcomes.plain(words))
    procedure = adjust_clock(task.head_end, task.device, wanted.seconds, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.confirmed(found, words))


def _behind(task: Task, wanted: ClockParameters) -> Procedure[float | None]:
    """How far the device is ahead; it answers in the window in which its clock is set then, so that waiting for the
    window does not spoil the time. None where it marks its time as invalid."""
    try:
        told = yield from read_clock()
    except DecodeError:
        return None
    return outcomes.difference(told, _local(task, wanted))


def _clock_correct(task: Task, wanted: ClockParameters) -> Procedure[Outcome]:
    ahead = yield from _behind(task, wanted)
    local = _local(task, wanted)
    moment = MeterTime("J", hour=local.hour, minute=local.minute, second=local.second)
    values: outcomes.Values = {"difference_before": None if ahead is None else round(ahead)}
    if wanted.by_gateway:
        yield from correct_by_gateway(moment)
        return outcomes.plain("sent; up to 60 s are worked off within 12 hours", values)
    found = yield from correct_clock(task.head_end, task.device, moment, issue=wanted.issue)
    return outcomes.confirmed(found, "accepted; up to 60 s are worked off within 12 hours", values)


def _clock_set(task: Task, wanted: ClockParameters) -> Procedure[Outcome]:
    ahead = yield from _behind(task, wanted)
    moment = type_i(_local(task, wanted), summer_time=_summer(task, wanted))
    found = yield from set_clock(task.head_end, task.device, moment, issue=wanted.issue)
    values: outcomes.Values = {"difference_before": None if ahead is None else round(ahead), "time": moment.isoformat()}
    return outcomes.confirmed(found, f"set to {moment.isoformat()}", values)


_CLOCK: Final[dict[str, Callable[[Task, ClockParameters], Procedure[Outcome]]]] = {
    "read": _clock_read,
    "adjust": _clock_adjust,
    "correct": _clock_correct,
    "set": _clock_set,
}


# -- firmware ------------------------------------------------------------------------------------------


def _plan_firmware(wanted: FirmwareParameters) -> Plan:
    if wanted.action == "state":
        return Plan(f"state of image {wanted.identifier}", _LINK)
    words = "terminate the transfer of" if wanted.action == "terminate" else "update the firmware to"
    return Plan(f"{words} image {wanted.identifier}", FIRMWARE, approval=True, effect="journal")


def _firmware(task: Task, wanted: FirmwareParameters) -> Procedure[Outcome]:
    if wanted.action == "state":
        return _then(read_image_state(wanted.name), outcomes.image_state)
    if wanted.action == "terminate":
        procedure = terminate_image(task.head_end, task.device, wanted.name, secured=wanted.secured, issue=wanted.issue)
        return _then(procedure, outcomes.image_state)
    image = FirmwareImage(wanted.name, wanted.image, wanted.block_size)
    options = UpdateOptions(wanted.activate, wanted.after, secured=wanted.secured, confirmed=wanted.confirmed, poll=wanted.poll)
    update = update_firmware(task.head_end, task.device, image, options=options, issue=wanted.issue)
    return _then(update, outcomes.firmware)


# -- supervision ---------------------------------------------------------------------------------------


def _plan_supervision(wanted: SupervisionParameters) -> Plan:
    if wanted.action == "read":
        return Plan("read status and error flags", _LINK)
    return Plan("clear error flags" if wanted.mask is None else f"clear error flags {wanted.mask:X}h", 0x24, effect="journal")


def _supervision(task: Task, wanted: SupervisionParameters) -> Procedure[Outcome]:
    kind = task.device.device_type
    if wanted.action == "read":
        return _then(read_status(), lambda found: outcomes.supervision(found, kind))
    head_end, device = task.head_end, task.device
    if wanted.mask is None:
        procedure = clear_all_flags(head_end, device, issue=wanted.issue)
    else:
        procedure = clear_flags(head_end, device, wanted.mask, standard=not wanted.maker, size=wanted.size, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.cleared(found, kind))


# -- keys ----------------------------------------------------------------------------------------------


def _plan_keys(wanted: KeyParameters) -> Plan:
    changes = wanted.action in ("renew", "destroy")
    name = "" if wanted.key_id is None else f" {wanted.key_id:02X}h"
    words = {"list": "list the keys in use", "counters": "list the keys in use with counters"}
    meaning = words.get(wanted.action) or f"{wanted.action} key{name}"
    return Plan(meaning, KEY_MANAGEMENT, approval=changes, effect="journal" if changes else "none")


def _keys_list(task: Task, wanted: KeyParameters) -> Procedure[Outcome]:
    counters = wanted.action == "counters"
    return _then(key_list(task.head_end, task.device, counters=counters, issue=wanted.issue), outcomes.key_list)


def _keys_synchronise(task: Task, wanted: KeyParameters) -> Procedure[Outcome]:
    return _then(synchronise_counters(task.head_end, task.device, issue=wanted.issue), outcomes.key_list)


def _keys_renew(task: Task, wanted: KeyParameters) -> Procedure[Outcome]:
    key_id = _named(wanted)
    head_end, device = task.head_end, task.device
    renewal = head_end.journal(device).renewal(key_id)
    version = task.new_key(key_id) if renewal is None else renewal.new
    found = yield from renew_key(head_end, device, key_id, version, issue=wanted.issue)
    task.renewed(key_id, version)
    return outcomes.renewed(found)


def _keys_destroy(task: Task, wanted: KeyParameters) -> Procedure[Outcome]:
    key_id, version = _named(wanted), wanted.version or 0
    words = f"version {version:02X} of key {key_id:02X} is deleted"
    procedure = destroy_key(task.head_end, task.device, key_id, version, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.plain(words))


def _named(wanted: KeyParameters) -> int:
    """Raises NotRepresentable where no wrapper key is known."""
    key_id = wanted.key_id or 0
    wrapper_of(key_id)
    return key_id


_KEY_ACTIONS: Final[dict[str, Callable[[Task, KeyParameters], Procedure[Outcome]]]] = {
    "list": _keys_list,
    "counters": _keys_list,
    "synchronise": _keys_synchronise,
    "renew": _keys_renew,
    "destroy": _keys_destroy,
}


# -- selection, billing --------------------------------------------------------------------------------


def _plan_select(wanted: SelectParameters) -> Plan:
    changes = [f"+{tag}" for tag in wanted.add] + [f"-{tag}" for tag in wanted.remove]
    return Plan(f"application {wanted.application}.{wanted.block}: {' '.join(changes)}", 0x25, effect="journal")


def _select(task: Task, wanted: SelectParameters) -> Procedure[Outcome]:
    procedure = select_data(
        task.head_end,
        task.device,
        wanted.application,
        wanted.block,
        add=wanted.add,
        remove=wanted.remove,
        issue=wanted.issue,
    )
    return _then(procedure, outcomes.selected)


def _plan_due_date(wanted: DueDateParameters) -> Plan:
    if wanted.date is None:
        return Plan("read the due dates", _LINK)
    return Plan(f"next due date {wanted.date.isoformat()}", 0x26, effect="journal")


def _due_date(task: Task, wanted: DueDateParameters) -> Procedure[Outcome]:
    if wanted.date is None:
        return _then(read_due_dates(issue=wanted.issue), outcomes.due_dates)
    today = dt.datetime.fromtimestamp(task.now(), dt.UTC).date()
    procedure = set_next_due_date(task.head_end, task.device, wanted.date, today=today, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.plain(f"next due date {found.isoformat()}", {"next": found.isoformat()}))


def _plan_ownership(wanted: OwnershipParameters) -> Plan:
    if wanted.digits is None:
        return Plan("read the ownership number", _LINK)
    return Plan(f"ownership number {wanted.digits}", 0x26, effect="journal")


def _ownership(task: Task, wanted: OwnershipParameters) -> Procedure[Outcome]:
    if wanted.digits is None:
        procedure = read_ownership_number(issue=wanted.issue)
    else:
        procedure = set_ownership_number(task.head_end, task.device, wanted.digits, issue=wanted.issue)
    return _then(procedure, lambda digits: outcomes.plain(f"ownership number {digits}", {"ownership_number": digits}))


# -- consumer, adapters --------------------------------------------------------------------------------


def _consumer(task: Task, wanted: ConsumerParameters) -> Procedure[Outcome]:
    procedure = read_consumer_information(wanted.octets, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.readings(found, "a display shows"))


def _plan_index(wanted: IndexParameters) -> Plan:
    if wanted.action == "read":
        return Plan(f"read the index {wanted.tag}", _LINK)
    return Plan(f"index {wanted.tag}: {wanted.action} {wanted.value}", ADAPTER_KEY, approval=True, effect="journal")


def _index(task: Task, wanted: IndexParameters) -> Procedure[Outcome]:
    if wanted.action == "read":
        return _then(read_index(wanted.tag, wanted.vib, issue=wanted.issue), outcomes.index)
    procedure = change_index(
        task.head_end, task.device, wanted.tag, wanted.octets, wanted.action, wanted.number, issue=wanted.issue
    )
    return _then(procedure, outcomes.index_changed)


def _plan_meter_address(wanted: MeterAddressParameters) -> Plan:
    words = f"address of the meter: {wanted.wanted} after {wanted.delay} s"
    return Plan(words, ADAPTER_KEY, approval=True, effect="journal")


def _meter_address(task: Task, wanted: MeterAddressParameters) -> Procedure[Outcome]:
    address = merged(wanted.wanted.transport_octets(), task.device)
    if address is None or address == task.device:
        words = "the number has other digits than 0 to 9" if address is None else "the device has this address already"
        raise NotRepresentable(words, field="address", value=wanted.address)
    task.moving(address)
    procedure = set_meter_address(task.head_end, task.device, wanted.wanted, delay=wanted.delay, issue=wanted.issue)
    return _then(procedure, lambda found: outcomes.moved(found, address))


# -- conformance ---------------------------------------------------------------------------------------


def _plan_test(wanted: TestParameters) -> Plan:
    return Plan("conformance test", 0x1F if wanted.secured else _LINK)


def _test(task: Task, wanted: TestParameters) -> Procedure[Outcome]:
    secured = (task.head_end, task.device) if wanted.secured else (None, None)
    return _then(conformance_test(*secured, functions=wanted.functions, issue=wanted.issue), outcomes.conformance)


# -- the table -----------------------------------------------------------------------------------------


def _row(kind: JobKind[P]) -> JobKind[Parameters]:
    return cast("JobKind[Parameters]", kind)


_ROWS: Final = (
    _row(JobKind("register", RegisterParameters, _LINK, lambda wanted: Plan("register the device", _LINK), _register)),
    _row(JobKind("read", ReadParameters, _LINK, lambda wanted: Plan("read the device", _LINK), _read)),
    _row(JobKind("disconnector", DisconnectorParameters, 0x20, _plan_disconnector, _disconnector)),
    _row(JobKind("clock", ClockParameters, 0x22, _plan_clock, lambda task, wanted: _CLOCK[wanted.action](task, wanted))),
    _row(JobKind("firmware", FirmwareParameters, FIRMWARE, _plan_firmware, _firmware)),
    _row(JobKind("supervision", SupervisionParameters, 0x24, _plan_supervision, _supervision)),
    _row(
        JobKind("keys", KeyParameters, KEY_MANAGEMENT, _plan_keys, lambda task, wanted: _KEY_ACTIONS[wanted.action](task, wanted))
    ),
    _row(JobKind("select", SelectParameters, 0x25, _plan_select, _select)),
    _row(JobKind("due-date", DueDateParameters, 0x26, _plan_due_date, _due_date)),
    _row(JobKind("ownership", OwnershipParameters, 0x26, _plan_ownership, _ownership)),
    _row(JobKind("consumer", ConsumerParameters, _LINK, lambda wanted: Plan("read consumer information", _LINK), _consumer)),
    _row(JobKind("index", IndexParameters, ADAPTER_KEY, _plan_index, _index)),
    _row(JobKind("meter-address", MeterAddressParameters, ADAPTER_KEY, _plan_meter_address, _meter_address)),
    _row(JobKind("test", TestParameters, 0x1F, _plan_test, _test)),
)
#: name -> kind
KINDS: Final[dict[str, JobKind[Parameters]]] = {row.name: row for row in _ROWS}


def kind_of(name: str) -> JobKind[Parameters]:
    """A kind by its name. Raises InputError (``access.invalid``)"""
    kind = KINDS.get(name)
    if kind is None:
        raise invalid(f"there is no job of the kind {name!r}; there are {', '.join(KINDS)}")
    return kind


def read_parameters(name: str, text: str | bytes) -> Parameters:
    """Parameters from JSON. Raises InputError (``access.invalid``) that says what is wrong."""
    kind = kind_of(name)
    try:
        return msgspec.json.decode(text, type=kind.parameters)
    except msgspec.MsgspecError as error:
        raise invalid(f"{name}: {error}") from None


def plan_of(name: str, text: str | bytes) -> Plan:
    """What a job is. Raises InputError (``access.invalid``)"""
    return kind_of(name).plan(read_parameters(name, text))


def resource(name: str, text: str | bytes | None = None) -> str:
    """The resource whose permissions ``execute`` and ``approve`` a job needs, e.g. ``key:20``.

    Without parameters the most demanding one of the kind. Raises InputError (``access.invalid``)
    """
    kind = kind_of(name)
    return key_resource(kind.key_id if text is None else kind.plan(read_parameters(name, text)).key_id)
