"""The order in which a wildcard search asks: a generator of probes that is resumed with what came.

    verdict = yield Probe(node)      empty, alone (an answer), several, mute (E5, but no answer)

    branch    empty: nothing below. alone: a slave is found. several, mute: split
    split     the next digit of the identification number 0..9; with all digits fixed the manufacturer (those found
              on this bus first), then version, then device type, and in the end, digit by digit, the fabrication number

The highest digit comes first: numbers of one batch share their high digits, and a few shared levels cost less than
many sparse low ones. A digit that told nothing apart in two branches is asked last in the branches that follow.
A field other than a number has no wildcards of its parts, so all its values are asked, once each; the next field
follows where they explain less than two slaves. The fabrication number is used only when nothing else separates
(OMS Volume 2 Annex P, P-20).

It ends: a bus of n slaves (250 at most) has n / 2 branches with several slaves at one level, more are noise and are
given up. A split has 10 children and at most one look back at each of the 8 + 8 levels of the numbers, m manufacturers,
255 versions and 255 types: no run has more than 1 + n / 2 * (16 * 11 + m + 511) probes.
Source: The M-Bus: A Documentation, Rev. 4.8 (wildcard search); OMS Volume 2 Annex P release C (informative part).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Literal

import msgspec

from openmetering.codec.address import Address, Selection

__all__ = ["Node", "Probe", "SearchTree", "Trouble", "Verdict"]

Trouble = Literal["duplicates", "no-answer", "hidden", "noise"]
_ALL = "FFFFFFFF"
_DIGITS = "0123456789"
_TRIALS, _TELLING = 2, 1.3  #: a digit below this mean number of answering children, after these trials, is asked last


class Node(msgspec.Struct, frozen=True):
    """A branch: a selection with wildcards. ``swept``: fields that are done, whether they are fixed or not."""

    pattern: Address
    fabrication: str | None = None
    swept: tuple[str, ...] = ()

    @property
    def selection(self) -> Selection:
        """What selects the branch."""
        return Selection(self.pattern, self.fabrication)

    @property
    def full(self) -> bool:
        """True if the identification number has no wildcard."""
        return "F" not in self.pattern.identification

    def child(self, field: str, value: int) -> Node:
        """The branch with a field fixed."""
        changes: dict[str, object] = {field: value}
        return Node(msgspec.structs.replace(self.pattern, **changes), self.fabrication, (*self.swept, field))

    def digit(self, at: int, digit: str) -> Node:
        """The branch with a digit fixed: 0..7 of the identification number, 8..15 of the fabrication number."""
        if at < 8:
            number = self.pattern.identification
            changed = msgspec.structs.replace(self.pattern, identification=number[:at] + digit + number[at + 1 :])
            return Node(changed, self.fabrication, self.swept)
        number = self.fabrication or _ALL
        return Node(self.pattern, number[: at - 8] + digit + number[at - 7 :], self.swept)


class Probe(msgspec.Struct, frozen=True):
    """A branch to ask. ``once``: silence need not be proven by repetition."""

    node: Node
    once: bool = False


class Verdict(msgspec.Struct, frozen=True):
    """What a branch holds. ``address`` and ``frame`` where one slave answered."""

    kind: Literal["empty", "alone", "several", "mute"]
    address: Address | None = None
    frame: bytes = b""


class Discovery(msgspec.Struct, frozen=True):
    """A slave: its address (None if its answer states none), what selects it, its answer."""

    address: Address | None
    selection: Selection
    frame: bytes


class SearchTree:
    """One search. ``found`` and ``troubles`` grow while ``walk`` runs.

    ``manufacturers`` codes to try where the identification number does not separate; ``slaves`` the largest number on
    the bus; ``thorough`` True: an answer to a selection with wildcards is not believed to be the only one, the rest of
    its branch is asked as well (nine selections for each free digit, once each).
    """

    __slots__ = ("_answered", "_manufacturers", "_split", "_splits", "_thorough", "_widest", "found", "troubles")

    def __init__(self, manufacturers: Iterable[int], *, slaves: int = 250, thorough: bool = False) -> None:
        self.found: list[Discovery] = []
        self.troubles: list[tuple[Selection, Trouble]] = []
        self._manufacturers = tuple(manufacturers)
        self._thorough = thorough
        self._widest = max(1, slaves // 2)
        self._answered = [0] * 16
        self._split = [0] * 16
        self._splits: dict[str, int] = {}

    def walk(self, root: Node | None = None) -> Generator[Probe, Verdict, None]:
        """Ask everything below a branch; the whole bus without one."""
        yield from self._branch(root or Node(Address(0xFFFF, _ALL, 0xFF, 0xFF)))

    def _branch(self, node: Node, *, once: bool = False) -> Generator[Probe, Verdict, int]:
        """The number of slaves that a branch is known to hold; 2 stands for several."""
        verdict = yield Probe(node, once)
        if verdict.kind == "empty":
            return 0
        address = verdict.address
        if address is not None and address.matches(node.pattern):
            self._find(node, verdict)
            return (yield from self._around(node, address)) if self._thorough else 1
        if not node.full:
            return (yield from self._digits(node, range(8)))
        if verdict.kind == "alone":
            self._find(node, verdict)
            return 1
        if verdict.kind == "mute":
            return self._give_up(node, "no-answer")
        return (yield from self._fields(node))

    def _around(self, node: Node, address: Address) -> Generator[Probe, Verdict, int]:
        """Ask everything in a branch but the one slave that answered: at each free digit the nine other values."""
        count = 1
        for at, own in enumerate(address.identification):
            if node.pattern.identification[at] != "F":
                continue
            for digit in _DIGITS.replace(own, ""):
                count += yield from self._branch(node.digit(at, digit), once=True)
            node = node.digit(at, own)
        return count

    def _find(self, node: Node, verdict: Verdict) -> None:
        """Note a slave, once."""
        address, fabrication = verdict.address, node.fabrication
        mine = address is not None and address.matches(node.pattern)
        selection = Selection(address, fabrication) if address is not None and mine else node.selection
        for known in self.found:
            if known.selection.pattern == selection.pattern and known.selection.fabrication in (None, fabrication):
                return
        self.found.append(Discovery(address, selection, verdict.frame))

    def _give_up(self, node: Node, trouble: Trouble) -> int:
        self.troubles.append((node.selection, trouble))
        return 2

    def _noise(self, level: str) -> bool:
        """True if more branches of a level hold several slaves than a bus can have."""
        self._splits[level] = self._splits.get(level, 0) + 1
        return self._splits[level] > self._widest

    # -- splitting --------------------------------------------------------------------------------

    def _digits(self, node: Node, places: range) -> Generator[Probe, Verdict, int]:
        """Fix one more digit of a number."""
        number = node.pattern.identification + (node.fabrication or _ALL)
        free = [at for at in places if number[at] == "F"]
        if self._noise(f"{places.start}.{len(free)}"):
            return self._give_up(node, "noise")
        at = next((place for place in free if self._tells(place)), free[0])
        self._split[at] += 1
        count = 0
        for digit in _DIGITS:
            below = yield from self._branch_of(node.digit(at, digit), places)
            self._answered[at] += below > 0
            count += below
        if count == 0 and (yield Probe(node)).kind != "empty":
            return self._give_up(node, "hidden")
        return count

    def _branch_of(self, child: Node, places: range) -> Generator[Probe, Verdict, int]:
        return (yield from (self._branch(child) if places.start == 0 else self._fabrication(child)))

    def _tells(self, place: int) -> bool:
        trials = self._split[place]
        return trials < _TRIALS or self._answered[place] / trials >= _TELLING

    def _fields(self, node: Node) -> Generator[Probe, Verdict, int]:
        """Several slaves have one identification number: manufacturer, version, type, then the fabrication number."""
        count = 0
        for field in _FIELDS:
            if field in node.swept:
                continue
            if self._noise(field):
                return self._give_up(node, "noise")
            held = 0
            for value in self._values(field):
                held += yield from self._branch(node.child(field, value), once=True)
            count = max(count, held)
            if count > 1:
                return count
            node = Node(node.pattern, node.fabrication, (*node.swept, field))
        return (yield from self._fabrication(Node(node.pattern, _ALL, node.swept)))

    def _values(self, field: str) -> Iterable[int]:
        if field != "manufacturer":
            return range(0xFF)
        seen = [one.address.manufacturer for one in self.found if one.address is not None]
        return dict.fromkeys((*seen, *self._manufacturers))

    def _fabrication(self, node: Node) -> Generator[Probe, Verdict, int]:
        """Enhanced selection; slaves that do not know it are silent, and stay where they were."""
        verdict = yield Probe(node)
        if verdict.kind == "empty":
            return self._give_up(Node(node.pattern), "duplicates") if node.fabrication == _ALL else 0
        if verdict.kind == "alone":
            self._find(node, verdict)
            return 1
        if "F" in (node.fabrication or ""):
            return (yield from self._digits(node, range(8, 16)))
        return self._give_up(node, "no-answer" if verdict.kind == "mute" else "duplicates")


_FIELDS = ("manufacturer", "version", "device_type")
