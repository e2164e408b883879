"""Schemathesis against every route: what the description allows and what it does not, with an administrator's token.

Looked for: server errors; statuses, media types and bodies that the description does not tell of.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable

from tests.interfaces.web.test_rights_matrix import ROUTES
from tests.interfaces.web.world import World

schemathesis = pytest.importorskip("schemathesis", reason="the fuzzer schemathesis is not installed")

if TYPE_CHECKING:
    from schemathesis import Case
    from schemathesis.schemas import BaseSchema

pytestmark = pytest.mark.services

EXAMPLES = 6


@pytest.fixture(scope="module")
def fuzzed() -> Iterator[tuple[World, BaseSchema, dict[str, str]]]:
    """A world that may be ruined."""
    world = World()
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", world.app())
    yield world, schema, world.bearer(world.author)
    world.close()


def known(world: World) -> dict[str, Callable[[], object]]:
    """Numbers of things that are there."""
    side = world.own
    return {
        "node_id": lambda: side.unit.id,
        "point_id": lambda: side.point.id,
        "device_id": lambda: side.device.id,
        "assignment_id": side.fresh_assignment,
        "occupancy_id": side.fresh_occupancy,
        "gateway_id": lambda: world.gateway.id,
        "series_id": lambda: side.series,
        "frame_id": lambda: side.frame,
        "alarm_id": side.fresh_alarm,
        "job_id": lambda: side.fresh_job().id,
        "key_id": side.fresh_key,
        "webhook_id": side.fresh_webhook,
        "schedule_id": side.fresh_schedule,
        "user_id": lambda: side.user("msp").id,
        "token_id": lambda: side.fresh_token(side.consumer),
        "address": lambda: side.address,
        "tenant_id": lambda: side.tenant.id,
    }


def checks() -> list[Callable[..., object]]:
    found = schemathesis.checks
    return [
        found.not_a_server_error,
        *found.CHECKS.get_by_names(["status_code_conformance", "content_type_conformance", "response_schema_conformance"]),
    ]


def aimed(world: World, case: Case) -> None:
    """Let a request name things that are there."""
    numbers = known(world)
    case.path_parameters = {part: numbers[part]() for part in case.path_parameters or {}}
    if isinstance(case.body, dict):
        case.body = {part: numbers[part]() if part in numbers else value for part, value in case.body.items()}


@pytest.mark.parametrize("kind", ["allowed", "aimed", "not-allowed"])
@pytest.mark.parametrize("name", sorted(ROUTES))
def test_no_server_error(fuzzed: tuple[World, BaseSchema, dict[str, str]], name: str, kind: str) -> None:
    """What the description allows, the same naming things that are there, and what it does not allow."""
    world, schema, headers = fuzzed
    mode = schemathesis.GenerationMode.NEGATIVE if kind == "not-allowed" else schemathesis.GenerationMode.POSITIVE
    operation = schema.find_operation_by_id(name)

    @settings(max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy(generation_mode=mode))
    def attack(case: Case) -> None:
        if kind == "aimed":
            aimed(world, case)
        case.call_and_validate(headers=headers, checks=checks())

    try:
        attack()
    except Unsatisfiable:
        assert kind == "not-allowed"  # nothing can be wrong with a request that has no part
