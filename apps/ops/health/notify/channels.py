"""The ways to people: e-mail, webhooks, Slack, and the ping that is missed when it stops.

A webhook's address is a secret: only its host is ever shown, and no error of the library, which
would show it all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from smtplib import SMTPException, SMTPResponseException, SMTPServerDisconnected
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import requests
from django.conf import settings as django_settings
from django.core.mail import EmailMessage

from apps.ops.conf import OpsSettings
from apps.ops.health.notify.news import Message

REQUEST_SECONDS = 4.0
NO_MAIL = "django.core.mail.backends.console.EmailBackend"


class NotTold(Exception):
    """A channel did not take it: says which and why, without a secret."""


@dataclass(frozen=True, slots=True)
class Channel:
    """`key` tells one from the others without its address; `send` raises NotTold."""

    key: str
    label: str
    send: Callable[[Message], None]


def channels(settings: OpsSettings) -> Iterator[Channel]:
    if settings.notify_emails:
        yield Channel(
            _key("e-mail", ",".join(settings.notify_emails)),
            "e-mail",
            partial(_mail, settings.notify_emails),
        )
    for address in settings.notify_webhooks:
        yield Channel(_key("webhook", address), _label("webhook", address), _poster(address))
    for address in settings.notify_slack:
        yield Channel(_key("slack", address), _label("Slack", address), _slack_poster(address))


def ping(address: str, *, good: bool) -> None:
    """Say that a round of checks has ended, in the form of healthchecks.io.

    Raises:
        NotTold: it did not get there.
    """
    parts = urlsplit(address)
    path = parts.path if good else f"{parts.path.rstrip('/')}/fail"
    _request("GET", urlunsplit(parts._replace(path=path)), label=_label("ping", address))


def _mail(to: tuple[str, ...], message: Message) -> None:
    if django_settings.EMAIL_BACKEND == NO_MAIL:
        raise NotTold("e-mail: no mail leaves this machine. Set EMAIL_URL in .env.")
    try:
        sent = EmailMessage(message.subject, message.text, to=list(to)).send()
    except SMTPResponseException as error:
        raise NotTold(f"e-mail: the mail server refused it ({error.smtp_code}).") from None
    except (SMTPException, OSError, ValueError) as error:
        raise NotTold(f"e-mail: the mail server did not take it ({_why(error)}).") from None
    if not sent:
        raise NotTold("e-mail: it was not sent.")


def _poster(address: str) -> Callable[[Message], None]:
    label = _label("webhook", address)
    return lambda message: _request("POST", address, label=label, json=message.as_json())


def _slack_poster(address: str) -> Callable[[Message], None]:
    label = _label("Slack", address)

    def send(message: Message) -> None:
        text = f"*{_slack(message.subject)}*\n{_slack(message.text)}"
        _request("POST", address, label=label, json={"text": text})

    return send


def _slack(text: str) -> str:
    """https://docs.slack.dev/messaging/formatting-message-text: these three, and no others."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _request(method: str, address: str, *, label: str, json: Any = None) -> None:
    try:
        # A redirect is not followed: what is said here is for this address. The answer's body is
        # not read: it may be endless.
        with requests.request(
            method,
            address,
            json=json,
            timeout=REQUEST_SECONDS,
            allow_redirects=False,
            stream=True,
        ) as answer:
            status = answer.status_code
    except (requests.RequestException, OSError, ValueError) as error:
        raise NotTold(f"{label}: {_why(error)}.") from None
    if not 200 <= status < 300:
        raise NotTold(f"{label}: it answered {status}.")


def _why(error: Exception) -> str:
    match error:
        # smtplib says "disconnected" of a mail server that was silent for too long.
        case (
            requests.Timeout() | TimeoutError() | SMTPServerDisconnected(__context__=TimeoutError())
        ):
            return "it did not answer in time"
        case requests.exceptions.SSLError():
            return "its certificate is not good"
        case requests.ConnectionError() | ConnectionError():
            return "it cannot be reached"
        case ValueError():  # Also requests' own for an address that is none.
            return "this is no address"
        case _:
            return type(error).__name__


def _key(kind: str, address: str) -> str:
    return f"{kind}:{hashlib.sha256(address.encode()).hexdigest()[:12]}"


def _label(kind: str, address: str) -> str:
    try:
        host = urlsplit(address).hostname
    except ValueError:
        host = None
    return f"{kind} at {host}" if host else kind
