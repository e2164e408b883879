"""The guarded head-end: jobs and their approval, keys, webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from openmetering.services.headend.access import Guard, needs
from openmetering.services.headend.model import Job, JobStep, KeyInfo, Page, Webhook
from openmetering.services.headend.problems import conflict, denied, unknown
from openmetering.services.headend.rights import Scope
from openmetering.services.headend.vault import KeyImport, RotationReport

__all__ = ["Work"]


class Work(Guard):
    """What is done to devices, and with what."""

    # -- jobs -------------------------------------------------------------------------------------

    @needs("read", "jobs")
    def job_kinds(self, _scope: Scope) -> tuple[str, ...]:
        """The kinds of jobs that the user may create."""
        desk = self._head.jobs
        return tuple(kind for kind in desk.kinds() if self.can("execute", desk.resource(kind)))

    @needs("read", "jobs")
    def jobs(
        self,
        scope: Scope,
        states: tuple[str, ...] = (),
        device_id: int | None = None,
        before: int | None = None,
        limit: int = 100,
    ) -> Page[Job]:
        """Jobs, the newest first."""
        if device_id is not None:
            self.seen_device(scope, device_id)
        return self._head.jobs.page(
            states=states, device_id=device_id, tenant_id=self.tenant_filter(scope), before=before, limit=limit
        )

    @needs("read", "jobs")
    def job(self, scope: Scope, job_id: int) -> Job:
        """One job. Raises InputError (``access.unknown``)"""
        return self._seen_job(scope, job_id)

    @needs("read", "jobs")
    def job_steps(self, scope: Scope, job_id: int) -> tuple[JobStep, ...]:
        """What happened to a job, in order."""
        self._seen_job(scope, job_id)
        return self._head.jobs.steps(job_id)

    @needs("read", "jobs")
    def create_job(
        self, _scope: Scope, device_id: int, kind: str, parameters: str = "{}", not_before: datetime | None = None
    ) -> Job:
        """Ask for a use case to be carried out; needs the permission of its application KeyID on top.

        ``parameters`` is JSON. Raises InputError (``access.denied``, ``access.unknown``, and what the kind refuses)
        """
        desk = self._head.jobs
        if kind not in desk.kinds():
            raise unknown("kind of job", kind)
        scope = self.require("execute", desk.resource(kind, parameters), "create_job")
        device = self.seen_device(scope, device_id)
        with self._head.writing():
            made = desk.create(device, kind, parameters, self.user.id, not_before)
            self.note("create job", f"device {device_id}", f"job {made.id} {kind}")
        self._head.tell_job(made)
        return made

    @needs("read", "jobs")
    def approve_job(self, _scope: Scope, job_id: int) -> Job:
        """Let a job of another user run; needs the right to approve its KeyID.

        Raises InputError (``access.denied``) for the own job, ``access.conflict`` if nothing waits for approval
        """
        job = self._known_job(job_id)
        scope = self.require("approve", self._head.jobs.resource(job.kind, job.parameters), "approve_job")
        job = self._seen_job(scope, job_id)
        if job.created_by == self.user.id:
            self.note("denied", "approve_job", f"job {job_id} is the user's own")
            raise denied("approve", "a job of your own")
        if job.state != "awaiting-approval":
            raise conflict(f"job {job_id} is {job.state}, it does not wait for approval")
        with self._head.writing():
            made = self._head.jobs.approve(job_id, self.user.id)
            self.note("approve job", f"job {job_id}", f"device {job.device_id} {job.kind}")
        self._head.tell_job(made)
        return made

    @needs("write", "jobs")
    def cancel_job(self, scope: Scope, job_id: int) -> Job:
        """Take a job back; needs the right to create such a job. Raises InputError (``access.conflict``) if it is over"""
        job = self._seen_job(scope, job_id)
        self.require("execute", self._head.jobs.resource(job.kind, job.parameters), "cancel_job")
        with self._head.writing():
            made = self._head.jobs.cancel(job_id, self.user.id)
            self.note("cancel job", f"job {job_id}", f"device {job.device_id} {job.kind}")
        self._head.tell_job(made)
        return made

    @needs("write", "jobs")
    def resume_job(self, scope: Scope, job_id: int) -> Job:
        """Find out what became of a job whose outcome is unknown; needs the right to create such a job.

        Raises InputError (``access.conflict``) if it is not unknown
        """
        job = self._seen_job(scope, job_id)
        self.require("execute", self._head.jobs.resource(job.kind, job.parameters), "resume_job")
        with self._head.writing():
            made = self._head.jobs.resume(job_id)
            self.note("resume job", f"job {job_id}", f"device {job.device_id} {job.kind}")
        self._head.tell_job(made)
        return made

    def _known_job(self, job_id: int) -> Job:
        found = self._head.jobs.find(job_id)
        if found is None:
            raise unknown("job", job_id)
        return found

    def _seen_job(self, scope: Scope, job_id: int) -> Job:
        found = self._known_job(job_id)
        device = self._head.registry.find_device(found.device_id)
        if not scope.covers(None if device is None else device.tenant_id):
            raise unknown("job", job_id)
        return found

    # -- keys -------------------------------------------------------------------------------------

    @needs("read", "keys")
    def keys(self, scope: Scope, after: int = 0, limit: int = 100, pattern: str | None = None) -> Page[KeyInfo]:
        """Keys as fingerprints."""
        return self._head.vault.keys(tenant_id=self.tenant_filter(scope), after=after, limit=limit, pattern=pattern)

    @needs("write", "keys")
    def preview_keys(
        self,
        scope: Scope,
        data: bytes,
        tenant_id: int | None = None,
        columns: Mapping[str, str] | None = None,
        password: str | None = None,
    ) -> KeyImport:
        """What a key file of any kind would add: new, known, conflicting."""
        return self._head.vault.preview(data, self.tenant_of(scope, tenant_id), columns=columns, password=password)

    @needs("write", "keys")
    def import_keys(
        self,
        scope: Scope,
        data: bytes,
        tenant_id: int | None = None,
        columns: Mapping[str, str] | None = None,
        password: str | None = None,
        *,
        replace: bool = False,
    ) -> KeyImport:
        """Add the keys of a file; with ``replace`` those in conflict take the place of what is there.

        What came before the keys is decoded with them afterwards: see ``HeadEnd.redecode``.
        """
        tenant = self.tenant_of(scope, tenant_id)
        with self._head.writing():
            done = self._head.vault.import_file(
                data, tenant, created_by=self.user.id, columns=columns, password=password, replace=replace
            )
            self.note("import keys", f"tenant {tenant}", done.words())
        self._head.keys_changed()
        return done

    @needs("write", "keys")
    def add_key(
        self,
        scope: Scope,
        address_pattern: str,
        key: str,
        key_id: int | None = 0,
        version: int | None = None,
        label: str = "",
        tenant_id: int | None = None,
    ) -> KeyInfo:
        """Add one key. Raises InputError (``key.invalid``, ``address.invalid``, ``access.conflict``)"""
        tenant = self.tenant_of(scope, tenant_id)
        with self._head.writing():
            made = self._head.vault.add(
                address_pattern, key, key_id, version, label=label, tenant_id=tenant, created_by=self.user.id
            )
            self.note("add key", f"key {made.id}", f"{made.address_pattern} {made.fingerprint}")
        self._head.keys_changed()
        return made

    @needs("write", "keys")
    def retire_key(self, scope: Scope, key_id: int) -> KeyInfo:
        """No longer use a key; it is kept, as old telegrams may need it again."""
        info = self._head.vault.find(key_id)
        if info is None or not scope.covers(info.tenant_id):
            raise unknown("key", key_id)
        with self._head.writing():
            made = self._head.vault.retire(key_id)
            self.note("retire key", f"key {key_id}", f"{made.address_pattern} {made.fingerprint}")
        self._head.keys_changed()
        return made

    @needs("write", "keys")
    def rotate_master(self, scope: Scope, new_master: bytes | None = None) -> RotationReport:
        """Wrap every key again under another master key (None: a fresh one, kept where the old one is kept).

        Only for who may do it for all tenants.
        """
        if scope.kind != "all":
            raise denied("rotate", "the master key")
        return self._head.vault.rotate(
            new_master,
            note=lambda report: self.note("rotate master key", "vault", f"{report.keys} keys, {report.old} to {report.new}"),
        )

    # -- webhooks -----------------------------------------------------------------------------------

    @needs("read", "webhooks")
    def webhooks(self, scope: Scope) -> tuple[Webhook, ...]:
        """Where events are posted to; the secrets are left out."""
        found = self._head.webhooks.all(self.tenant_filter(scope))
        return tuple(Webhook(one.id, one.url, one.events, "", one.tenant_id) for one in found)

    @needs("write", "webhooks")
    def add_webhook(self, scope: Scope, url: str, events: tuple[str, ...], secret: str, tenant_id: int | None = None) -> Webhook:
        """Post events to an address from now on."""
        tenant = None if scope.kind == "all" and tenant_id is None else self.tenant_of(scope, tenant_id)
        with self._head.writing():
            made = self._head.webhooks.add(url, events, secret, tenant)
            self.note("add webhook", f"webhook {made.id}", url)
        return Webhook(made.id, made.url, made.events, "", made.tenant_id)

    @needs("write", "webhooks")
    def remove_webhook(self, scope: Scope, webhook_id: int) -> None:
        """Stop posting. Raises InputError (``access.unknown``)"""
        found = self._head.webhooks.find(webhook_id)
        if found is None or not scope.covers(found.tenant_id):
            raise unknown("webhook", webhook_id)
        with self._head.writing():
            self._head.webhooks.remove(webhook_id)
            self.note("remove webhook", f"webhook {webhook_id}", found.url)
