"""Asking for a deployment in the admin. The web only writes down what is wanted: the agent, which
has Docker, starts it."""

from __future__ import annotations

import ipaddress
from functools import partial
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

from apps.ops import freezes
from apps.ops.deploys import requests
from apps.ops.errors import Refused
from apps.ops.models import Deployment, Release

PERMISSION = "ops.add_deployment"
RELEASES_OFFERED = 20


class DeployForm(forms.Form):
    ref = forms.CharField(
        label="Branch, tag or commit",
        max_length=requests.MAX_REF,
        help_text="As the remote has it. It is checked again before anything is built.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["ref"].initial = settings.OPS.branch

    def clean_ref(self) -> str:
        ref = str(self.cleaned_data["ref"])
        if found := requests.why_not(Deployment.Kind.DEPLOY, ref):
            raise forms.ValidationError(found)
        return ref


class RollbackForm(forms.Form):
    ref = forms.ChoiceField(
        label="Release",
        required=False,
        help_text="One that was live. Its image may be gone: then it is refused.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["ref"]
        assert isinstance(field, forms.ChoiceField)
        newest = ("", "the newest stable one that is not live")
        field.choices = [newest, *((r.sha, str(r)) for r in _were_live())]


FORMS: dict[str, type[forms.Form]] = {"deploy": DeployForm, "rollback": RollbackForm}
TITLES = {"deploy": "Request a deployment", "rollback": "Request a rollback"}


def urls(model_admin: admin.ModelAdmin[Deployment]) -> list[URLPattern]:
    return [
        path(
            f"request/{kind}/",
            model_admin.admin_site.admin_view(partial(_page, model_admin, kind=kind)),
            name=f"ops_deployment_request_{kind}",
        )
        for kind in FORMS
    ]


def _page(
    model_admin: admin.ModelAdmin[Deployment], request: HttpRequest, *, kind: str
) -> HttpResponse:
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied
    form = FORMS[kind](request.POST if request.method == "POST" else None)
    if form.is_valid():
        by = request.user.get_username()
        try:
            row = requests.ask(kind, form.cleaned_data["ref"], by=by, origin=address_of(request))
        except Refused as refused:
            form.add_error(None, refused.found)
        else:
            said = f"#{row.pk} waits: the agent starts it within a few seconds."
            messages.success(request, said)
            seen = model_admin.has_view_permission(request)
            return redirect("admin:ops_deployment_changelist" if seen else "admin:index")
    freeze = freezes.in_force() if kind == "deploy" else None
    context = {
        **model_admin.admin_site.each_context(request),
        "title": TITLES[kind],
        "opts": model_admin.opts,
        "form": form,
        "freeze": freezes.describe(freeze) if freeze else "",
    }
    return TemplateResponse(request, "admin/ops/deployment/request.html", context)


def address_of(request: HttpRequest) -> str:
    """The visitor's, as far as Caddy knows it.

    Caddy lets a `X-Forwarded-For` pass from the CDN only, and puts whom it talked to at its end:
    before that stands what the CDN put there. What a visitor made up is further to the left.
    """
    said = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")[-2:]
    for candidate in (said[0].strip(), request.META["REMOTE_ADDR"]):
        try:
            return str(ipaddress.ip_address(candidate))
        except ValueError:
            continue
    return "admin"


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
