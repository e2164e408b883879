"""Routes for devices, their import and export."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from litestar import Response
from litestar.params import JSONBody, PathParameter, QueryParameter

from openmetering.interfaces.web.api.common import (
    LINE,
    ApiRequest,
    Cursor,
    Id,
    Limit,
    Line,
    Listing,
    Name,
    Number,
    OptionalId,
    Session,
    change,
    create,
    listing,
    perform,
    read,
    whole,
)
from openmetering.services.headend.csv_import import ImportPlan, ImportReport
from openmetering.services.headend.guarded_places import Place
from openmetering.services.headend.model import Device, GatewayDevice
from openmetering.services.headend.registry import DeviceChange, DeviceFilter
from openmetering.storage.model import DeviceState

__all__ = ["ROUTES", "AddDevice", "ChangeDevice", "CsvFile", "Step"]

Text = Annotated[str | None, QueryParameter(max_length=120, pattern=LINE, required=False)]


class ChangeDevice(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Particulars of a device; what is left out or null stays as it is, an empty text takes it away."""

    label: Line | None = None
    medium: Line | None = None
    adapter: Line | None = None
    profile: Line | None = None
    mode: Line | None = None
    bidirectional: bool | None = None
    wired_primary: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None

    def change(self) -> DeviceChange:
        """As the registry takes it."""
        return DeviceChange(**{name: value for name, value in msgspec.structs.asdict(self).items() if value is not None})


class AddDevice(ChangeDevice, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A device to take over: one that was heard and is nobody's, or one that will be heard."""

    address: Name
    tenant_id: Number | None = None

    def change(self) -> DeviceChange:
        """As the registry takes it."""
        names = ChangeDevice.__struct_fields__
        return DeviceChange(**{name: value for name in names if (value := getattr(self, name)) is not None})


class Step(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step of the life cycle that people take."""

    step: Literal["retire", "reinstate"]


class CsvFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A CSV file as text. ``partly``: refused rows are left out and the others are taken."""

    csv: str
    tenant_id: Number | None = None
    partly: bool = False


@read("/devices", "read:devices", tag="devices")
def list_devices(
    request: ApiRequest,
    session: Session,
    search: Text = None,
    wanted_state: Annotated[DeviceState | None, QueryParameter(name="state", required=False)] = None,
    medium: Text = None,
    node_id: OptionalId = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Listing[Device]:
    """Devices by number.

    `search` is a part of the address or of the label, `node_id` a place with all below it.
    """
    wanted = DeviceFilter(state=wanted_state, medium=medium, text=search, node_id=node_id)
    return listing(request, session.devices(wanted, cursor or 0, limit))


@create("/devices", "write:devices", tag="devices")
def register_device(session: Session, data: JSONBody[AddDevice]) -> Device:
    """Register a device."""
    return session.register_device(data.address, data.change(), data.tenant_id)


@read("/devices/{device_id:int}", "read:devices", tag="devices")
def get_device(session: Session, device_id: Id) -> Device:
    """One device."""
    return session.device(device_id)


@read("/devices/by-address/{address:str}", "read:devices", tag="devices")
def get_device_by_address(session: Session, address: Annotated[str, PathParameter(max_length=120)]) -> Device:
    """One device by its address, such as ELS-12345678-33-03."""
    return session.device_by_address(address)


@change("/devices/{device_id:int}", "write:devices", tag="devices")
def change_device(session: Session, device_id: Id, data: JSONBody[ChangeDevice]) -> Device:
    """Change particulars of a device."""
    return session.change_device(device_id, data.change())


@perform("/devices/{device_id:int}/step", "write:devices", tag="devices")
def step_device(session: Session, device_id: Id, data: JSONBody[Step]) -> Device:
    """Retire a device or take it back into service."""
    return session.step_device(device_id, data.step)


@read("/devices/{device_id:int}/receivers", "read:devices", tag="devices")
def receivers(session: Session, device_id: Id) -> Listing[GatewayDevice]:
    """Which gateways hear a device, and how well."""
    return whole(session.receivers(device_id))


@read("/devices/{device_id:int}/place", "read:nodes", tag="devices")
def get_place(session: Session, device_id: Id) -> Place:
    """Where a device measures now."""
    return session.place(device_id)


@perform("/imports/devices/preview", "write:devices", tag="import")
def preview_import(session: Session, data: JSONBody[CsvFile]) -> ImportPlan:
    """What a CSV file of devices would do: rows that are new, changed, the same, or refused with the reason."""
    return session.preview_import(data.csv.encode(), data.tenant_id)


@perform("/imports/devices", "write:devices", tag="import")
def apply_import(session: Session, data: JSONBody[CsvFile]) -> ImportReport:
    """Import devices in one transaction."""
    return session.apply_import(data.csv.encode(), data.tenant_id, partly=data.partly)


@read("/exports/devices", "read:devices", tag="import", media_type="text/csv")
def export_devices(session: Session) -> Response[str]:
    """The devices as the CSV file that the import reads."""
    headers = {"Content-Disposition": 'attachment; filename="devices.csv"'}
    return Response(session.export_devices(), media_type="text/csv", headers=headers)


ROUTES = (
    list_devices, register_device, get_device, get_device_by_address, change_device, step_device, receivers, get_place,
    preview_import, apply_import, export_devices,
)  # fmt: skip
