"""What the checks of one point share: its evidence, the rules for it, the values that are known to be wrong already."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cached_property
from zoneinfo import ZoneInfo

from openmetering.mdm.evidence import Evidence, Heard
from openmetering.mdm.findings import Finding
from openmetering.mdm.series import Sample, Series
from openmetering.mdm.validation.rules import Rule

__all__ = ["DAY", "Context"]

DAY = 86_400.0


class Context:
    """Checks read ``evidence`` and ``good``, and call ``tell``."""

    def __init__(self, evidence: Evidence, rules: dict[str, Rule]) -> None:
        self.evidence = evidence
        self.rules = rules
        self.found: list[Finding] = []
        self.zone = ZoneInfo(evidence.zone)
        self._bad: dict[str, set[float]] = defaultdict(set)
        self._false: dict[str, set[float]] = defaultdict(set)
        self._good: dict[int, list[Sample]] = {}

    def rule(self, name: str) -> Rule | None:
        """The rule, unless it is off."""
        return self.rules.get(name)

    def tell(
        self,
        rule: Rule,
        device: str,
        begin: float,
        end: float,
        reason: str,
        samples: Iterable[float] = (),
        *,
        spoil: bool = False,
    ) -> None:
        """A rule speaks. With ``spoil`` its values are left out by the checks that follow, whatever its severity."""
        moments = tuple(samples)
        self.found.append(Finding(rule.id, rule.severity, self.evidence.point, device, begin, end, reason, moments))
        if spoil or rule.severity == "fail":
            self._bad[device].update(moments)
            if rule.id != "backward":
                self._false[device].update(moments)
            self._good.clear()

    def good(self, series: Series) -> list[Sample]:
        """The values of a register without those that are known to be wrong."""
        known = self._good.get(id(series))
        if known is None:
            bad = self._bad[series.register.device]
            known = self._good[id(series)] = [one for one in series.samples if one.at not in bad] if bad else list(series.samples)
        return known

    def shown(self, series: Series) -> list[Sample]:
        """What the register did show, also while it ran backward: without values that are false."""
        false = self._false[series.register.device]
        return [one for one in series.samples if one.at not in false] if false else list(series.samples)

    @cached_property
    def telegrams(self) -> dict[str, list[Heard]]:
        """What was heard, by device and time."""
        found: dict[str, list[Heard]] = defaultdict(list)
        for one in sorted(self.evidence.heard, key=lambda heard: heard.at):
            found[one.device].append(one)
        return found

    def day(self, moment: float) -> str:
        """A moment as people write it, in local time."""
        return datetime.fromtimestamp(moment, self.zone).strftime("%Y-%m-%d %H:%M")

    def runs(self, moments: Sequence[float], apart: float) -> list[tuple[float, float, list[float]]]:
        """Moments in runs: begin, end and members; a new one begins where nothing comes for ``apart`` seconds."""
        found: list[tuple[float, float, list[float]]] = []
        for at in moments:
            if found and at - found[-1][1] <= apart:
                begin, _, members = found[-1]
                members.append(at)
                found[-1] = (begin, at, members)
            else:
                found.append((at, at, [at]))
        return found
