"""Asking for something in the admin. The web only writes down what is wanted: the agent, which has
Docker and the state volume, looks whether it may be, and does it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth import authenticate
from django.core.exceptions import PermissionDenied
from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone

from apps.ops import freezes, logins, security_log
from apps.ops.deploys import requests
from apps.ops.errors import Refused
from apps.ops.models import Deployment, Freeze, Release, Request
from apps.ops.requester import OF_THE_SITE
from apps.ops.visitor import address_of

RELEASES_OFFERED = 20
DEPLOYMENTS_OFFERED = 20


class RequestForm(forms.Form):
    """With the password once more, when it was given too long ago for what is asked for."""

    password = forms.CharField(
        label="Your password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
        help_text="Once more: you gave it a while ago, and this moves traffic or lets it be moved.",
    )

    def __init__(self, request: HttpRequest, *, fresh: bool) -> None:
        super().__init__(request.POST if request.method == "POST" else None)
        self.request = request
        self.order_fields([name for name in self.fields if name != "password"])
        if fresh:
            del self.fields["password"]

    def clean_password(self) -> str:
        request, password = self.request, str(self.cleaned_data["password"])
        username = request.user.get_username()
        if authenticate(request, username=username, password=password) != request.user:
            locked = logins.was_locked_out(request)
            raise forms.ValidationError(
                logins.LOCKED_OUT if locked else "That is not your password."
            )
        logins.mark_fresh(request)
        security_log.record(
            security_log.Event.PASSWORD_CONFIRMED, username=username, address=address_of(request)
        )
        return password


class DeployForm(RequestForm):
    ref = forms.CharField(
        label="Branch, tag or commit",
        max_length=requests.MAX_REF,
        help_text="As the remote has it. It is checked again before anything is built.",
    )

    def __init__(self, request: HttpRequest, *, fresh: bool) -> None:
        super().__init__(request, fresh=fresh)
        self.fields["ref"].initial = settings.OPS.branch

    def clean_ref(self) -> str:
        ref = str(self.cleaned_data["ref"])
        try:
            requests.require_allowed(Request.Kind.DEPLOY, ref, settings.OPS)
        except Refused as refused:
            raise forms.ValidationError(refused.found) from refused
        return ref


class RollbackForm(RequestForm):
    ref = forms.ChoiceField(
        label="Release",
        required=False,
        help_text="One that was live. Its image may be gone: then it is refused.",
    )

    def __init__(self, request: HttpRequest, *, fresh: bool) -> None:
        super().__init__(request, fresh=fresh)
        newest = ("", "the newest stable one that is not live")
        _offer(self, [newest, *((r.sha, str(r)) for r in _were_live())])


class CancelForm(RequestForm):
    ref = forms.ChoiceField(
        label="Deployment",
        help_text="One that was asked for here. Before the swap what it did is undone.",
    )

    def __init__(self, request: HttpRequest, *, fresh: bool) -> None:
        super().__init__(request, fresh=fresh)
        open_ = Deployment.objects.exclude(status__in=Deployment.TERMINAL)
        found = open_.filter(requested_by__endswith=OF_THE_SITE)[:DEPLOYMENTS_OFFERED]
        _offer(self, [(str(d.pk), str(d)) for d in found])


class FreezeForm(RequestForm):
    reason = forms.CharField(label="Reason", max_length=freezes.MAX_REASON)
    until = forms.DateTimeField(
        label="Until",
        required=False,
        widget=forms.DateTimeInput(attrs={"type": "datetime-local"}),
        help_text="Empty: until it is lifted.",
    )

    def clean_until(self) -> object:
        until = self.cleaned_data["until"]
        if until and not timezone.now() < until < timezone.now() + freezes.LONGEST:
            raise forms.ValidationError("That is past, or far off.")
        return until


class UnfreezeForm(RequestForm):
    pass


@dataclass(frozen=True, slots=True)
class Act:
    """`moves_traffic`, or lets it be moved: a fresh password is wanted."""

    title: str
    form: type[RequestForm]
    moves_traffic: bool = True


ACTS = {
    "deploy": Act("Request a deployment", DeployForm),
    "rollback": Act("Request a rollback", RollbackForm),
    "cancel": Act("Cancel a deployment", CancelForm),
    "freeze": Act("Freeze deployments", FreezeForm, moves_traffic=False),
    "unfreeze": Act("Lift the freeze", UnfreezeForm),
}


def urls(model_admin: admin.ModelAdmin[Deployment]) -> list[URLPattern]:
    return [
        path(
            f"request/{kind}/",
            model_admin.admin_site.admin_view(partial(_page, model_admin, kind=kind)),
            name=f"ops_deployment_request_{kind}",
        )
        for kind in ACTS
    ]


def _page(
    model_admin: admin.ModelAdmin[Deployment], request: HttpRequest, *, kind: str
) -> HttpResponse:
    if not request.user.has_perm(f"ops.request_{kind}"):
        raise PermissionDenied
    act = ACTS[kind]
    form = act.form(request, fresh=not act.moves_traffic or logins.is_fresh(request))
    if form.is_valid() and _ask(kind, form, request):
        said = "It is asked for: the agent takes it up within a few seconds."
        messages.success(request, said)
        seen = request.user.has_perm("ops.view_request")
        return redirect("admin:ops_request_changelist" if seen else "admin:index")
    freeze = _freeze_shown() if kind in ("deploy", "unfreeze") else ""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": act.title,
        "opts": model_admin.opts,
        "form": form,
        "runs": kind in ("deploy", "rollback"),
        "freeze": freeze,
    }
    return TemplateResponse(request, "admin/ops/deployment/request.html", context)


def _ask(kind: str, form: RequestForm, request: HttpRequest) -> bool:
    asked = {name: form.cleaned_data.get(name) or "" for name in ("ref", "reason")}
    event, detail = security_log.Event.ASKED, f"{kind} {asked['ref']}{asked['reason']}".strip()
    by, origin = request.user.get_username(), address_of(request)
    try:
        until = form.cleaned_data.get("until")
        requests.ask(kind, **asked, until=until, by=by, origin=origin or "admin")
    except Refused as refused:
        form.add_error(None, refused.found)
        event, detail = security_log.Event.REFUSED, f"{detail}: {refused.found}"
    security_log.record(event, username=by, address=origin, detail=detail)
    return event is security_log.Event.ASKED


def _freeze_shown() -> str:
    """What the agent has told the table of the freeze in force, if one is."""
    not_past = Q(until=None) | Q(until__gt=timezone.now())
    freeze = Freeze.objects.filter(not_past, lifted_at=None).first()
    if freeze is None:
        return ""
    return freezes.describe(freeze.frozen_by, freeze.frozen_at, freeze.until, freeze.reason)


def _offer(form: RequestForm, choices: list[tuple[str, str]]) -> None:
    field = form.fields["ref"]
    assert isinstance(field, forms.ChoiceField)
    field.choices = choices


def _were_live() -> list[Release]:
    """The newest first, each once."""
    shas = (
        Deployment.objects.filter(status=Deployment.Status.SUCCEEDED, release__isnull=False)
        .order_by("-id")
        .values_list("release", flat=True)[: RELEASES_OFFERED * 5]
    )
    newest = list(dict.fromkeys(shas))[:RELEASES_OFFERED]
    found = Release.objects.in_bulk(newest)
    return [found[number] for number in newest]
