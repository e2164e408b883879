"""Delivery of reports by mail (SMTP) or by a webhook, and the formats they come in.

[mail]   host, port, sender, tls = "starttls" (or "tls", "none"), user, password_file
"""

from __future__ import annotations

import json
import smtplib
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path
from typing import Annotated, Final, Literal, Protocol

import msgspec

from openmetering.errors import InputError, TransportError
from openmetering.interfaces.reports.pdf import pdf_of
from openmetering.interfaces.reports.texts import csv_of, jsonl_of
from openmetering.interfaces.web.i18n import Words
from openmetering.services.mdm.report import Report

__all__ = ["FORMATS", "Deliver", "MailSettings", "Mailer", "content", "post"]

_TIMEOUT: Final = 30.0
#: format -> media type, ending
FORMATS: Final = {
    "pdf": ("application/pdf", "pdf"), "csv": ("text/csv", "csv"), "jsonl": ("application/x-ndjson", "jsonl"),
}  # fmt: skip


class MailSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mail server. ``tls``: ``starttls``, ``tls`` from the first octet, ``none`` (on the same machine only)."""

    host: str
    sender: str
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 587
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: str = ""
    password_file: str = ""
    ca: str = ""


class Deliver(Protocol):
    """Who brings a report somewhere."""

    def __call__(self, target: str, report: Report, octets: bytes, kind: str, words: Words) -> None:
        """Raises TransportError (``report.delivery``)"""
        ...


def content(report: Report, kind: str, words: Words) -> bytes:
    """The report in a format. Raises InputError (``input.option``, ``input.extra``)"""
    makers: dict[str, Callable[[], bytes]] = {
        "pdf": lambda: pdf_of(report, words),
        "csv": lambda: csv_of(report),
        "jsonl": lambda: jsonl_of(report),
    }
    if kind not in makers:
        raise InputError(f"a report comes as {', '.join(makers)}", code="input.option")
    return makers[kind]()


def file_name(report: Report, kind: str) -> str:
    """A name that says what is in it."""
    place = "".join(sign if sign.isalnum() else "-" for sign in report.place).strip("-").lower() or "all"
    return f"{report.kind}-{place}-{report.since:%Y-%m-%d}.{FORMATS[kind][1]}"


class Mailer:
    """Sends reports as attachments."""

    def __init__(self, settings: MailSettings) -> None:
        self._settings = settings

    def __call__(self, target: str, report: Report, octets: bytes, kind: str, words: Words) -> None:
        settings = self._settings
        message = EmailMessage()
        title = words(f"report.title.{report.kind}")
        message["Subject"] = f"{title}: {report.place}"
        message["From"] = settings.sender
        message["To"] = target
        message.set_content(words("report.mail", title=title, place=report.place))
        main, _, sub = FORMATS[kind][0].partition("/")
        message.add_attachment(octets, maintype=main, subtype=sub, filename=file_name(report, kind))
        try:
            with self._connected() as server:
                if settings.user:
                    password = Path(settings.password_file).read_text("utf-8").strip()
                    server.login(settings.user, password)
                server.send_message(message)
        except (OSError, smtplib.SMTPException) as error:
            raise TransportError(f"{settings.host}: {error}", code="report.delivery", layer="transport") from error

    def _connected(self) -> smtplib.SMTP:
        settings = self._settings
        context = ssl.create_default_context(cafile=settings.ca or None)
        if settings.tls == "tls":
            return smtplib.SMTP_SSL(settings.host, settings.port, timeout=_TIMEOUT, context=context)
        server = smtplib.SMTP(settings.host, settings.port, timeout=_TIMEOUT)
        if settings.tls == "starttls":
            server.starttls(context=context)
        return server


def post(target: str, report: Report, octets: bytes, kind: str, words: Words) -> None:
    """The report as the body of a POST. Raises TransportError (``report.delivery``)"""
    headers = {
        "Content-Type": FORMATS[kind][0], "X-Report": json.dumps(report.kind), "User-Agent": "openmetering",
        "Content-Language": words.locale,
    }  # fmt: skip
    request = urllib.request.Request(target, octets, headers, method="POST")
    if request.type not in ("http", "https"):
        raise InputError(f"{target} is neither http nor https", code="input.option")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            answer.read(1)
    except (urllib.error.URLError, OSError) as error:
        raise TransportError(f"{target}: {error}", code="report.delivery", layer="transport") from error
