"""Validation: rules as data, checks over the evidence of a point, findings with the numbers that decided."""

from openmetering.mdm.validation.engine import validate, validate_balance
from openmetering.mdm.validation.rules import RULE_IDS, Rule, Rules, load_rules

__all__ = ["RULE_IDS", "Rule", "Rules", "load_rules", "validate", "validate_balance"]
