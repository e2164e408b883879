"""The head-end as one user sees it: every interface (API, pages, command line) goes through this and nothing else.

    Places   tenants, nodes, points, devices, assignments, occupancies, gateways, import and export
    Data     readings, series, telegrams, alarms, overview
    People   users, tokens, audit trail
    Work     jobs and approvals, keys, webhooks
    Billing  validation, versions, reports, exports, retention, erasure, subject access

Each method names its permission (see ``access``); things beyond the user's scope are answered like things that
do not exist.
"""

from __future__ import annotations

from openmetering.services.headend.guarded_billing import Billing
from openmetering.services.headend.guarded_data import Data
from openmetering.services.headend.guarded_people import People
from openmetering.services.headend.guarded_places import Places
from openmetering.services.headend.guarded_work import Work

__all__ = ["Guarded"]


class Guarded(Places, Data, People, Work, Billing):
    """All of it, for one user; made by ``HeadEnd.as_user``."""
