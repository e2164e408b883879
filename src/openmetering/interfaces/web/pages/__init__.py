"""The web page: one module per page, templates beside them; handlers call the guarded head-end and nothing else.

    create_app(head_end, settings, pages=page_routes(), error_page=error_page)

``page_routes`` makes the routes anew for every application. ``source_health`` tells about the sources of gateways
in the same process; without it the diagnosis leaves their stages open.
"""

from __future__ import annotations

from litestar import Router
from litestar.di import Provide

from openmetering.interfaces.web.pages import (
    alarms,
    assets,
    audit,
    devices,
    entry,
    exports,
    gateways,
    history,
    imports,
    jobs,
    keys,
    live,
    meter,
    overview,
    people,
    places,
    points,
    reports,
    tenants,
    validation,
    webhooks,
)
from openmetering.interfaces.web.pages.entry import error_page
from openmetering.interfaces.web.pages.gateways import SourceHealthOf
from openmetering.interfaces.web.pages.staging import Staging
from openmetering.interfaces.web.pages.visit import provide_guest, provide_visit

__all__ = ["error_page", "page_routes"]

_PAGES = (
    overview.overview,
    overview.overview_part,
    devices.meters,
    devices.new_meter,
    devices.register,
    devices.edit,
    devices.change,
    devices.step,
    devices.assign,
    meter.meter_values,
    meter.meter_telegrams,
    meter.meter_telegram,
    meter.meter_radio,
    meter.meter_security,
    meter.meter_events,
    history.meter_history,
    history.meter_plot,
    places.places,
    places.add_node,
    places.place,
    places.agree_place,
    places.rename_node,
    places.remove_node,
    places.add_point,
    places.add_occupancy,
    places.end_occupancy,
    points.point,
    points.agree_point,
    points.exchange,
    points.end_assignment,
    points.remove_point,
    alarms.alarms,
    alarms.acknowledge,
    jobs.jobs,
    jobs.job,
    jobs.new_job,
    jobs.create,
    jobs.approve,
    jobs.cancel,
    validation.validation,
    validation.validate,
    reports.reports,
    reports.report_file,
    exports.export_file,
    reports.add_schedule,
    reports.remove_schedule,
    gateways.gateways,
    gateways.gateway,
    keys.keys,
    keys.add_key,
    keys.retire_key,
    keys.rotate_master,
    keys.import_keys,
    keys.preview_keys,
    keys.apply_keys,
    imports.import_devices,
    imports.preview_devices,
    imports.apply_devices,
    imports.export_devices,
    people.users,
    people.add_user,
    people.user,
    people.change_user,
    people.rights,
    people.account,
    people.change_password,
    people.add_token,
    people.revoke_token,
    tenants.tenants,
    tenants.add_tenant,
    webhooks.webhooks,
    webhooks.add_webhook,
    webhooks.remove_webhook,
    audit.audit,
    live.live,
)
_DOOR = (entry.login_form, entry.login, entry.login_once, entry.logout, entry.preferences, assets.static_file)


def page_routes(source_health: SourceHealthOf | None = None) -> list[Router]:
    """All pages, the door and the files."""
    staging = Staging()
    return [
        Router(
            "/",
            route_handlers=list(_PAGES),
            dependencies={
                "visit": Provide(provide_visit, sync_to_thread=False),
                "staging": Provide(lambda: staging, sync_to_thread=False),
                "source_health": Provide(lambda: source_health, sync_to_thread=False),
            },
            include_in_schema=False,
        ),
        Router(
            "/",
            route_handlers=list(_DOOR),
            dependencies={"guest": Provide(provide_guest, sync_to_thread=False)},
            include_in_schema=False,
        ),
    ]
