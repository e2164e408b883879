"""Devices from a description: its functions by name with their options, its keys, its way to speak.

    description = DeviceDescription(
        config=EndpointConfig(address, profile="B"),
        functions={"clock": {"variant": "c"}, "disconnector": {}, "conformance": {}},
        keys=(GivenKey(0x00, octets), GivenKey(0x20, octets)),
    )
    endpoint = make_device(description, DeviceMemory(), readings, dice)

The keys are put into an empty memory only: a device that was in use has its own. Functions of
issue 5.0.1 (UC-07, 12, 14, 20) are left out in 4.3.3, where their commands are answered with error 11h.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Literal, TypeVar

import msgspec

from openmetering.codec.apl.records import read_header
from openmetering.errors import DecodeError, NotRepresentable
from openmetering.protocol.device.adapter import AdapterFeature
from openmetering.protocol.device.addressing import PrimaryAddressFeature, WiredAdapterFeature
from openmetering.protocol.device.application import Application
from openmetering.protocol.device.billing import BillingFeature
from openmetering.protocol.device.clock import ClockFeature
from openmetering.protocol.device.conformance import ConformanceFeature
from openmetering.protocol.device.contents import Contents, Readings
from openmetering.protocol.device.disconnector import DisconnectorFeature
from openmetering.protocol.device.endpoint import DeviceEndpoint, EndpointConfig
from openmetering.protocol.device.image import ImageFeature, Installer
from openmetering.protocol.device.image_machine import ImageSettings
from openmetering.protocol.device.interface import Feature
from openmetering.protocol.device.keys import KeyFeature, KeySettings
from openmetering.protocol.device.memory import DeviceMemory, KeySlot
from openmetering.protocol.device.sealing import Sealer
from openmetering.protocol.device.selection import SelectionFeature
from openmetering.protocol.device.supervision import SupervisionFeature
from openmetering.protocol.machine import Dice

__all__ = ["FUNCTIONS", "DeviceDescription", "GivenKey", "Options", "make_device"]

Options = Mapping[str, "bool | int | float | str | Mapping[str, str]"]

_SITP_OVERHEAD = 26  #: octets of a block with ASP10 around its APDU: 8 of the block, 10 in front, 8 of the MAC
_PATTERN_OVERHEAD = 7  #: DIF, VIB, LVAR, RC1 and RC2 around the pattern of UC-00 function 33
_LATER_APPLICATIONS = frozenset((18,))  # consumer information, UC-07
_FIRST_DAY = dt.datetime(2024, 1, 1)


class GivenKey(msgspec.Struct, frozen=True):
    """A key a device leaves the factory with. The octets show in no representation."""

    key_id: int
    octets: bytes
    version: int = 0

    def __repr__(self) -> str:
        return f"<GivenKey id={self.key_id:02X} version={self.version:02X}>"


class DeviceDescription(msgspec.Struct, frozen=True):
    """A device.

    ``functions``    name -> options; the names are those of ``FUNCTIONS``
    ``applications`` message applications that can be selected
    ``codings``      parameter of a select (hexadecimal) -> application, where it is above 15
    ``epoch``        what a clock of the device shows at ``now`` = 0
    """

    config: EndpointConfig
    functions: Mapping[str, Options] = {}
    keys: tuple[GivenKey, ...] = ()
    applications: tuple[int, ...] = (0, 7)
    codings: Mapping[str, int] = {}
    epoch: dt.datetime = _FIRST_DAY


class _Parts(msgspec.Struct, frozen=True):
    """What functions are made of."""

    description: DeviceDescription
    memory: DeviceMemory
    contents: Contents
    capacity: int
    installer: Installer | None
    clock: Callable[[float], dt.datetime]


# -- options of the functions ----------------------------------------------------------------------


class _Conformance(msgspec.Struct, frozen=True):
    proof_demanded: bool = False
    pattern: int | None = None


class _Disconnector(msgspec.Struct, frozen=True):
    manual: bool = False
    subunit: Literal[0, 1] = 0
    delayed: bool = False
    output_state: bool = True


class _Clock(msgspec.Struct, frozen=True):
    variant: Literal["a", "b", "c"] = "b"
    record_type: Literal["F", "I"] = "F"


class _Supervision(msgspec.Struct, frozen=True):
    maker_flags: bool = False
    same_octets: bool = True


class _Adapter(msgspec.Struct, frozen=True):
    indexes: dict[str, str] = {}


class _None(msgspec.Struct, frozen=True):
    pass


_O = TypeVar("_O", bound=msgspec.Struct)


def _options(name: str, options: Options, kind: type[_O]) -> _O:
    known = kind.__struct_fields__
    unknown = [option for option in options if option not in known]
    if unknown:
        raise NotRepresentable(
            f"no option of {name} is named {', '.join(unknown)}; there are {', '.join(known) or 'none'}",
            field=name,
            value=unknown,
        )
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        raise NotRepresentable(f"options of {name}: {error}", field=name, value=dict(options)) from None


# -- makers -----------------------------------------------------------------------------------------


def _conformance(parts: _Parts, options: Options) -> Feature:
    chosen = _options("conformance", options, _Conformance)
    room = max(parts.capacity - _PATTERN_OVERHEAD, 0)
    plain = room if chosen.pattern is None else chosen.pattern
    secured = max(room - _SITP_OVERHEAD, 0) if chosen.pattern is None else chosen.pattern
    return ConformanceFeature(pattern=plain, pattern_secured=secured, proof_demanded=chosen.proof_demanded)


def _disconnector(parts: _Parts, options: Options) -> Feature:
    chosen = _options("disconnector", options, _Disconnector)
    return DisconnectorFeature(
        parts.memory,
        manual=chosen.manual,
        subunit=chosen.subunit,
        delayed=chosen.delayed,
        output_state=chosen.output_state,
    )


def _clock(parts: _Parts, options: Options) -> Feature:
    chosen = _options("clock", options, _Clock)
    return ClockFeature(
        parts.memory,
        epoch=parts.description.epoch,
        variant=chosen.variant,
        record_type=chosen.record_type,
        type_m=parts.description.config.oms_issue == "5.0.1",
    )


def _supervision(parts: _Parts, options: Options) -> Feature:
    chosen = _options("supervision", options, _Supervision)
    return SupervisionFeature(parts.memory, maker_flags=chosen.maker_flags, same_octets=chosen.same_octets)


def _billing(parts: _Parts, options: Options) -> Feature:
    _options("billing", options, _None)
    return BillingFeature(parts.memory, parts.clock)


def _selection(parts: _Parts, options: Options) -> Feature:
    _options("selection", options, _None)
    kind = parts.description.config.address.device_type
    return SelectionFeature(parts.contents, device_type=kind, limit=max(parts.capacity - _SITP_OVERHEAD, 0))


def _adapter(parts: _Parts, options: Options) -> Feature:
    chosen = _options("adapter", options, _Adapter)
    try:
        headers = {tag: read_header(bytes.fromhex(octets), 0)[0] for tag, octets in chosen.indexes.items()}
    except (ValueError, IndexError, DecodeError):
        raise NotRepresentable(
            "an index is a tag and its DIB and VIB in hexadecimal", field="indexes", value=chosen.indexes
        ) from None
    return AdapterFeature(parts.memory, address=parts.description.config.address, indexes=headers)


def _primary_address(parts: _Parts, options: Options) -> Feature:
    _options("primary-address", options, _None)
    return PrimaryAddressFeature(parts.memory)


def _wired_adapter(parts: _Parts, options: Options) -> Feature:
    _options("wired-adapter", options, _None)
    return WiredAdapterFeature(parts.memory, address=parts.description.config.address)


def _image(parts: _Parts, options: Options) -> Feature:
    settings = _options("firmware", {"oms_issue": parts.description.config.oms_issue, **options}, ImageSettings)
    return ImageFeature(parts.memory, parts.installer or _accept, settings)


def _keys(parts: _Parts, options: Options) -> Feature:
    return KeyFeature(parts.memory, _options("keys", {"oms_issue": parts.description.config.oms_issue, **options}, KeySettings))


def _accept(image: bytes, identifier: bytes) -> bool:
    """The installer of devices whose firmware does nothing: every valid image is installed."""
    return True


#: name -> maker, and the issues that know the function
FUNCTIONS: dict[str, tuple[Callable[[_Parts, Options], Feature], frozenset[str]]] = {
    name: (maker, frozenset(issues.split()))
    for name, maker, issues in (
        ("conformance", _conformance, "4.3.3 5.0.1"),
        ("disconnector", _disconnector, "4.3.3 5.0.1"),
        ("clock", _clock, "4.3.3 5.0.1"),
        ("supervision", _supervision, "4.3.3 5.0.1"),
        ("billing", _billing, "5.0.1"),
        ("selection", _selection, "5.0.1"),
        ("adapter", _adapter, "5.0.1"),
        ("primary-address", _primary_address, "4.3.3 5.0.1"),
        ("wired-adapter", _wired_adapter, "4.3.3 5.0.1"),
        ("firmware", _image, "4.3.3 5.0.1"),
        ("keys", _keys, "4.3.3 5.0.1"),
    )
}


def make_device(
    description: DeviceDescription,
    memory: DeviceMemory,
    readings: Readings,
    dice: Dice,
    *,
    installer: Installer | None = None,
) -> DeviceEndpoint:
    """The device of a description around its memory; called again after a power cut.

    ``installer`` puts an image into use (image octets, identifier) and tells whether it could.
    Raises   NotRepresentable for an unknown function or option
    """
    config = description.config
    _check(description)
    if not memory.keys:
        memory.keys += [KeySlot(key.key_id, key.version, key.octets, active=True) for key in description.keys]
    features: list[Feature] = []
    absent = _LATER_APPLICATIONS if config.oms_issue == "4.3.3" else frozenset[int]()
    applications = [number for number in description.applications if number not in absent]
    contents = Contents(readings, features, memory, applications)
    sealer = Sealer(config.address, config.profile, long_header=config.long_header, wired=config.wired)
    reference = ClockFeature(memory, epoch=description.epoch)  # the time of the device, shown or not
    parts = _Parts(description, memory, contents, sealer.capacity(config.largest), installer, reference.moment)
    for name, options in description.functions.items():
        maker, issues = FUNCTIONS[name]
        if config.oms_issue in issues:
            features.append(maker(parts, options))
    codings = {bytes.fromhex(parameter): application for parameter, application in description.codings.items()}
    return DeviceEndpoint(config, memory, Application(memory, contents, codings=codings), dice)


def _check(description: DeviceDescription) -> None:
    unknown = [name for name in description.functions if name not in FUNCTIONS]
    if unknown:
        raise NotRepresentable(
            f"no function is named {', '.join(unknown)}; there are {', '.join(FUNCTIONS)}", field="functions", value=unknown
        )
