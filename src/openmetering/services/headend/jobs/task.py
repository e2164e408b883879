"""A job under way: its procedure, its journal, its operator machine, and what is to be written down next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import msgspec

from openmetering.codec.address import Address
from openmetering.protocol.operator.head_end import HeadEnd
from openmetering.protocol.operator.journal import Journal, RenewalEntry
from openmetering.protocol.operator.operator import Operator
from openmetering.protocol.operator.secured import Settled, settle
from openmetering.protocol.operator.steps import Procedure
from openmetering.security import Key, KeyRing
from openmetering.services.headend.jobs.carriers import Carrier
from openmetering.services.headend.jobs.journal import Draft
from openmetering.services.headend.jobs.kinds import FIRMWARE, KEY_MANAGEMENT, JobKind, Plan
from openmetering.services.headend.jobs.outcomes import Outcome
from openmetering.services.headend.jobs.parameters import Parameters
from openmetering.services.headend.model import Job

__all__ = ["JobKeys", "Running", "TakenBack"]


class JobKeys(Protocol):
    """The key vault as jobs need it."""

    def ring(self, device: Address) -> KeyRing:
        """All keys of a device, those that wait for it included, with KeyIDs and KeyVersions."""
        ...

    def new_key(self, device: Address, key_id: int) -> Key:
        """The key that waits for a device, or a new one at random under the next version; kept before it returns."""
        ...

    def in_use(self, device: Address, key_id: int, version: int) -> None:
        """The device uses this version from now on; called within the transaction that ends the job."""
        ...

    def moved(self, device: Address, address: Address) -> None:
        """The keys of a device count for another address as well; called as ``in_use``."""
        ...


class TakenBack(msgspec.Struct, frozen=True):
    """What was found out about a job that was taken back: ``taken`` None: nobody knows."""

    taken: bool | None


class Running:
    """One job under way. It is the ``Task`` that its procedure is made from."""

    __slots__ = (
        "_clock",
        "_keys",
        "_ring",
        "asked_at",
        "begun",
        "cancelling",
        "carrier",
        "device",
        "draft",
        "head_end",
        "job",
        "kind",
        "moves",
        "operator",
        "plan",
        "renewals",
        "settled",
        "token",
        "told",
        "told_at",
        "wanted",
        "words",
    )

    def __init__(
        self,
        job: Job,
        kind: JobKind[Parameters],
        wanted: Parameters,
        device: Address,
        carrier: Carrier,
        journal: Journal,
        keys: JobKeys,
        tokens: range,
        clock: Callable[[], float],
    ) -> None:
        self.job = job
        self.kind = kind
        self.wanted = wanted
        self.plan: Plan = kind.plan(wanted)
        self.device = device
        self.carrier = carrier
        self.draft = Draft()
        self._keys = keys
        self._ring = keys.ring(device)
        self._clock = clock
        self.head_end = HeadEnd(self._ring, journals=(journal,), save=self.draft.save)
        self.operator = Operator(device, tokens)
        self.begun = False  #: the device may have heard something of it
        self.cancelling = False  #: somebody takes it back
        self.token: int | None = None  #: of the exchange that is on its way
        self.asked_at = 0.0
        self.words: list[str] = []  #: steps that are not written yet
        self.settled: tuple[Settled, ...] | None = None  #: commands of earlier jobs that were found open
        self.renewals: list[tuple[int, int]] = []  #: keys that are in use when the job is done
        self.moves: list[Address] = []  #: addresses that the device may have when the job is over
        self.told = job.progress
        self.told_at = float("-inf")

    # -- what procedures ask for -------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def new_key(self, key_id: int) -> int:
        """The version of the key that waits, or of a new one; it is among the keys of the head-end from now on.

        A key that is kept without a version is the one that the device came with: version 0.
        """
        old = self._ring.find(self.device.link_octets(), key_id=key_id)
        if self.head_end.journal(self.device).version(key_id) is None and any(key.version is None for key in old):
            self.head_end.adopt(self.device, key_id, 0)
        key = self._keys.new_key(self.device, key_id)
        self._ring.add(self.device.link_octets(), key.octets, key_id, key.version)
        return key.version or 0

    def renewed(self, key_id: int, version: int) -> None:
        """To be told to the vault when the job is done."""
        self.renewals.append((key_id, version))

    def moving(self, address: Address) -> None:
        """To be told to vault and registry when the job is over and the device may have taken it."""
        self.moves.append(address)

    # -- procedures ----------------------------------------------------------------------------------

    def whole(self, begins: str) -> Procedure[Outcome]:
        """The job from its beginning, or from where it was.

        Commands of earlier jobs whose outcome nobody knows are settled first: what one of them has left open must not
        be taken for an order of this one. Where the device does not tell, the new command replaces the open one under
        its key: it has a higher key counter, so the old container is void from then on.
        """
        if not self.begun and self.plan.effect == "journal":
            self.settled = yield from settle(self.head_end, self.device, issue=self.wanted.issue)
            for one in self.settled:
                if one.taken is None and one.command.key_id == self.plan.key_id:
                    self.head_end.close(self.device, one.command.key_id)
        if not self.begun:
            self.begun = True
            self.words.append(f"{begins}{self.plan.meaning}")
        return (yield from self.kind.make(self, self.wanted))

    def take_back(self) -> Procedure[TakenBack]:
        """Find out what the device did, and close what it did not do.

        A key that may be active, and an image that may be installing, are left open: the next job of that kind finds
        out. An image that is only on its way stays in the device as far as it came.
        """
        head_end, device, key_id = self.head_end, self.device, self.plan.key_id
        settled = yield from settle(head_end, device, keep=True, issue=self.wanted.issue)
        verdicts = {one.taken for one in settled if one.command.key_id == key_id}
        for one in settled:
            if one.taken is not None:
                head_end.close(device, one.command.key_id)
        journal = head_end.journal(device)
        if key_id == FIRMWARE and journal.image is not None:
            verdicts = {None if journal.image.stage == "activating" and verdicts != {False} else False}
        if key_id == KEY_MANAGEMENT:
            verdicts = {self._give_up_key(renewal) for renewal in journal.renewals}
        return TakenBack(None if None in verdicts else True in verdicts)

    def _give_up_key(self, renewal: RenewalEntry) -> bool | None:
        """Forget a renewal whose key is not active yet; None for one that may be."""
        if renewal.stage == "activating":
            return None
        self.head_end.give_up_renewal(self.device, renewal.key_id)
        return False
