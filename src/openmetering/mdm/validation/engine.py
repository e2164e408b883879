"""All checks of a point in their order: what makes values useless first, so that those behind do not stumble over them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from openmetering.mdm.evidence import Balance, Evidence
from openmetering.mdm.findings import Finding
from openmetering.mdm.validation.behaviour import check_balance, check_frozen, check_leak, check_stored
from openmetering.mdm.validation.context import Context
from openmetering.mdm.validation.registers import (
    check_backward,
    check_day_length,
    check_exchange,
    check_gaps,
    check_medium,
    check_rate,
    check_unit,
)
from openmetering.mdm.validation.rules import Rules
from openmetering.mdm.validation.telegrams import (
    check_clock,
    check_duplicates,
    check_hops,
    check_key,
    check_lost,
    check_replay,
    check_status,
)

__all__ = ["validate", "validate_balance"]

_CHECKS: Final[tuple[Callable[[Context], None], ...]] = (
    check_key,
    check_medium,
    check_duplicates,
    check_replay,
    check_unit,
    check_rate,
    check_backward,
    check_exchange,
    check_gaps,
    check_lost,
    check_status,
    check_clock,
    check_hops,
    check_frozen,
    check_leak,
    check_stored,
    check_day_length,
)


def validate(evidence: Evidence, rules: Rules) -> tuple[Finding, ...]:
    """What the rules find at a point, in order of time. Raises InputError (``input.option``) for a rule without its parameters"""
    context = Context(evidence, rules.of(evidence.medium or "", evidence.size))
    for check in _CHECKS:
        check(context)
    return tuple(sorted(context.found, key=lambda one: (one.begin, one.rule)))


def validate_balance(balance: Balance, rules: Rules, medium: str = "") -> tuple[Finding, ...]:
    """What the rules find about a main meter and its sub-meters."""
    rule = rules.of(medium).get("balance")
    found = None if rule is None else check_balance(balance, rule)
    return () if found is None else (found,)
