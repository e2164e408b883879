"""Routes for jobs and their approval, keys, webhooks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast

import msgspec
from litestar.params import JSONBody, QueryParameter

from openmetering.interfaces.web.api.common import (
    LINE,
    ApiRequest,
    Cursor,
    Id,
    Limit,
    Line,
    Listing,
    Name,
    Number,
    OptionalId,
    Session,
    Time,
    create,
    listing,
    maybe_utc,
    perform,
    read,
    remove,
    whole,
)
from openmetering.services.headend.model import Job, JobStep, KeyInfo, Page
from openmetering.services.headend.problems import invalid
from openmetering.services.headend.vault import KeyImport
from openmetering.storage.model import JobState

__all__ = ["ROUTES", "AddJob", "AddKey", "AddWebhook", "JobView", "KeyFile", "WebhookView"]

Pattern = Annotated[
    str | None, QueryParameter(max_length=120, pattern=LINE, required=False, description="A part of the address pattern")
]
Parameters = dict[str, object]
_LARGEST_PARAMETERS = 2 * 1024 * 1024


class JobView(msgspec.Struct, frozen=True):
    """A job; ``progress`` from 0 to 1, ``result`` as the kind of job gives it, ``error`` in words."""

    id: int
    device_id: int
    kind: str
    parameters: Parameters
    state: str
    created_by: int | None
    created_at: datetime
    approved_by: int | None
    not_before: datetime | None
    attempts: int
    progress: float
    result: object
    error: str | None

    @classmethod
    def of(cls, job: Job) -> JobView:
        """What the head-end keeps as text, as JSON."""
        return cls(
            job.id, job.device_id, job.kind, _object(job.parameters), job.state, job.created_by, job.created_at,
            job.approved_by, job.not_before, job.attempts, job.progress, _json(job.result), job.error,
        )  # fmt: skip


class AddJob(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A use case to be carried out on a device; ``parameters`` depend on the kind."""

    device_id: Number
    kind: Name
    parameters: Parameters = {}
    not_before: Time | None = None


class AddKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key for the devices of an address pattern; ``key`` in hexadecimal. ``key_id`` 0 is the communication key."""

    address_pattern: Name
    key: Annotated[str, msgspec.Meta(min_length=32, max_length=128, pattern="^[0-9A-Fa-f ]*$")]
    key_id: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = 0
    version: Annotated[int, msgspec.Meta(ge=0, le=255)] | None = None
    label: Line = ""
    tenant_id: Number | None = None

    def __repr__(self) -> str:
        return f"<AddKey {self.address_pattern}>"


class KeyFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A key file of any kind that ``oms keys`` reads, in Base64.

    ``columns`` names the columns of a CSV file, ``password`` opens a file of a manufacturer, ``replace`` puts new keys
    in the place of those that are in conflict with them.
    """

    data: Annotated[bytes, msgspec.Meta(max_length=2_000_000)]
    tenant_id: Number | None = None
    columns: dict[str, str] | None = None
    password: Line | None = None
    replace: bool = False

    def __repr__(self) -> str:
        return f"<KeyFile of {len(self.data)} octets>"


class WebhookView(msgspec.Struct, frozen=True):
    """Where events are posted to; the secret is not shown."""

    id: int
    url: str
    events: tuple[str, ...]
    tenant_id: int | None


class AddWebhook(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Post events to ``url``; ``secret`` signs what is posted."""

    url: Annotated[str, msgspec.Meta(min_length=8, max_length=400, pattern=r"^https?://[^\x00-\x20\x7f]+$")]
    events: tuple[Name, ...]
    secret: Annotated[str, msgspec.Meta(min_length=16, max_length=200, pattern=r"^[\x21-\x7e]*$")]
    tenant_id: Number | None = None

    def __repr__(self) -> str:
        return f"<AddWebhook {self.url}>"


def _json(text: str | None) -> object:
    if text is None:
        return None
    try:
        return cast("object", msgspec.json.decode(text))
    except msgspec.DecodeError:
        return text


def _object(text: str) -> Parameters:
    found = _json(text)
    return cast("Parameters", found) if isinstance(found, dict) else {}


# -- jobs --------------------------------------------------------------------------------------------


@read("/job-kinds", "read:jobs", tag="jobs")
def job_kinds(session: Session) -> Listing[str]:
    """The kinds of jobs that the user may create."""
    return whole(session.job_kinds())


@read("/jobs", "read:jobs", tag="jobs")
def list_jobs(
    request: ApiRequest,
    session: Session,
    states: Annotated[list[JobState] | None, QueryParameter(name="state", required=False)] = None,
    device_id: OptionalId = None,
    cursor: Cursor = None,
    limit: Limit = 100,
) -> Listing[JobView]:
    """Jobs, the newest first.

    `state` may be given several times.
    """
    found = session.jobs(tuple(states or ()), device_id, cursor, limit)
    return listing(request, Page(tuple(map(JobView.of, found.items)), found.after))


@create("/jobs", "read:jobs", tag="jobs")
def create_job(session: Session, data: JSONBody[AddJob]) -> JobView:
    """Create a job; needs the permission of its application KeyID (`execute:key:20`) on top.

    Valves, breakers, firmware and keys wait for the approval of another user.
    """
    parameters = msgspec.json.encode(data.parameters)
    if len(parameters) > _LARGEST_PARAMETERS:
        raise invalid("the parameters of a job are too large")
    return JobView.of(session.create_job(data.device_id, data.kind, parameters.decode(), maybe_utc(data.not_before)))


@read("/jobs/{job_id:int}", "read:jobs", tag="jobs")
def get_job(session: Session, job_id: Id) -> JobView:
    """One job."""
    return JobView.of(session.job(job_id))


@read("/jobs/{job_id:int}/steps", "read:jobs", tag="jobs")
def job_steps(session: Session, job_id: Id) -> Listing[JobStep]:
    """What happened to a job, in order."""
    return whole(session.job_steps(job_id))


@perform("/jobs/{job_id:int}/approve", "read:jobs", tag="jobs")
def approve_job(session: Session, job_id: Id) -> JobView:
    """Approve a job of another user; needs the right to approve its KeyID (`approve:key:20`) on top."""
    return JobView.of(session.approve_job(job_id))


@perform("/jobs/{job_id:int}/cancel", "write:jobs", tag="jobs")
def cancel_job(session: Session, job_id: Id) -> JobView:
    """Take a job back."""
    return JobView.of(session.cancel_job(job_id))


@perform("/jobs/{job_id:int}/resume", "write:jobs", tag="jobs")
def resume_job(session: Session, job_id: Id) -> JobView:
    """Find out what became of a job whose outcome is unknown."""
    return JobView.of(session.resume_job(job_id))


# -- keys --------------------------------------------------------------------------------------------


@read("/keys", "read:keys", tag="keys")
def list_keys(
    request: ApiRequest, session: Session, pattern: Pattern = None, cursor: Cursor = None, limit: Limit = 100
) -> Listing[KeyInfo]:
    """Keys of the vault as fingerprints."""
    return listing(request, session.keys(cursor or 0, limit, pattern))


@create("/keys", "write:keys", tag="keys")
def add_key(session: Session, data: JSONBody[AddKey]) -> KeyInfo:
    """Add one key.

    The key is answered as a fingerprint; nothing shows it again.
    """
    return session.add_key(data.address_pattern, data.key, data.key_id, data.version, data.label, data.tenant_id)


@perform("/keys/{key_id:int}/retire", "write:keys", tag="keys")
def retire_key(session: Session, key_id: Id) -> KeyInfo:
    """No longer use a key."""
    return session.retire_key(key_id)


@perform("/imports/keys/preview", "write:keys", tag="import")
def preview_keys(session: Session, data: JSONBody[KeyFile]) -> KeyImport:
    """What a key file would add: new keys, known ones, those in conflict."""
    return session.preview_keys(data.data, data.tenant_id, data.columns, data.password)


@perform("/imports/keys", "write:keys", tag="import")
def import_keys(session: Session, data: JSONBody[KeyFile]) -> KeyImport:
    """Add the keys of a file."""
    return session.import_keys(data.data, data.tenant_id, data.columns, data.password, replace=data.replace)


# -- webhooks ----------------------------------------------------------------------------------------


@read("/webhooks", "read:webhooks", tag="webhooks")
def list_webhooks(session: Session) -> Listing[WebhookView]:
    """Where events are posted to."""
    return whole(WebhookView(one.id, one.url, one.events, one.tenant_id) for one in session.webhooks())


@create("/webhooks", "write:webhooks", tag="webhooks")
def add_webhook(session: Session, data: JSONBody[AddWebhook]) -> WebhookView:
    """Post events to an address from now on."""
    made = session.add_webhook(data.url, data.events, data.secret, data.tenant_id)
    return WebhookView(made.id, made.url, made.events, made.tenant_id)


@remove("/webhooks/{webhook_id:int}", "write:webhooks", tag="webhooks")
def remove_webhook(session: Session, webhook_id: Id) -> None:
    """Stop posting."""
    session.remove_webhook(webhook_id)


ROUTES = (
    job_kinds, list_jobs, create_job, get_job, job_steps, approve_job, cancel_job, resume_job, list_keys, add_key, retire_key,
    preview_keys, import_keys, list_webhooks, add_webhook, remove_webhook,
)  # fmt: skip
