"""A simulated property moves into an empty head-end: places, points with what is agreed, devices, keys, its year."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from openmetering.services.headend.headend import HeadEnd
from openmetering.services.headend.model import Tenant, User, moment
from openmetering.services.headend.registry import DeviceChange
from openmetering.simulation.property import PropertyPoint, PropertyYear
from openmetering.storage import mdm_rows

__all__ = ["settle_property"]

_KWH_PER_UNIT = "1.25"


def settle_property(
    head_end: HeadEnd, year: PropertyYear, administrator: User, progress: Callable[[float], None] | None = None
) -> tuple[Tenant, Mapping[str, int]]:
    """Fill a head-end; returns the tenant and the number of each point by its label. Raises InputError, TransportError"""
    now = head_end.now()
    registry = head_end.registry
    with head_end.writing():
        tenant = registry.add_tenant(year.name)
        site = registry.add_node(tenant.id, None, "site", year.name)
        building = registry.add_node(tenant.id, site.id, "building", f"{year.name} 1")
        units: dict[str, int] = {}
        numbers: dict[str, int] = {}
        with head_end.database.transaction() as connection:
            mdm_rows.put_node_data(connection, mdm_rows.NodeData(0, building.id, None, "building", _KWH_PER_UNIT), now)
        for point in year.points.values():
            if point.unit_name and point.unit_name not in units:
                unit = registry.add_node(tenant.id, building.id, "unit", point.unit_name)
                units[point.unit_name] = unit.id
                with head_end.database.transaction() as connection:
                    mdm_rows.put_node_data(connection, mdm_rows.NodeData(0, unit.id, point.area, "flat"), now)
            numbers[point.label] = _add_point(head_end, point, units.get(point.unit_name, building.id), tenant.id, now)
    keys = [f"{device.address},{device.key.hex()}" for point in year.points.values() for device in point.devices]
    head_end.as_user(administrator).import_keys(("address,key\n" + "\n".join(keys) + "\n").encode(), tenant.id)
    head_end.keys_changed()
    for batch in year.receptions():
        head_end.ingest(batch)
        if progress is not None:
            progress(min(1.0, (batch[-1].received_at - year.begin) / (year.end - year.begin)))
    head_end.ingestor.flush()
    return tenant, numbers


def _add_point(head_end: HeadEnd, point: PropertyPoint, node_id: int, tenant_id: int, now: datetime) -> int:
    registry = head_end.registry
    made = registry.add_point(node_id, point.label, point.medium.name)
    medium = point.medium
    factor = None if medium.unit else "1.4"
    data = mdm_rows.PointData(
        0, made.id, "main" if point.main else medium.size_class, None if point.main else medium.maximum, medium.unit, factor,
        "main" if point.main else "sub", point.every,
    )  # fmt: skip
    with head_end.database.transaction() as connection:
        mdm_rows.put_point_data(connection, data, now)
    registered = [device for device in point.devices if device.registered]
    for device in registered:
        # an exchange that nobody registered leaves the old device where it was
        end = None if device is registered[-1] else device.end
        known = registry.register(str(device.address), tenant_id, DeviceChange(label=point.label, medium=medium.name))
        registry.assign(known, made, moment(device.begin), None if end is None else moment(end))
    return made.id
