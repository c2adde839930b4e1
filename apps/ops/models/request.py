from __future__ import annotations

from django.db import models
from django.db.models.functions import Now


class Request(models.Model):
    """What somebody asked for in the admin. The web adds rows here and changes nothing else: the
    agent answers each, once. The list of kinds is all that can be asked for, and there are no
    options.

    Who writes a row writes the question: a trigger in the database (migration 0006) sets the time
    and takes any answer away.
    """

    class Kind(models.TextChoices):
        DEPLOY = "deploy"
        ROLLBACK = "rollback"
        CANCEL = "cancel"
        FREEZE = "freeze"
        UNFREEZE = "unfreeze", "lift the freeze"

    class Outcome(models.TextChoices):
        WAITING = "", "waiting"
        ACCEPTED = "accepted"
        REFUSED = "refused"

    kind = models.CharField(max_length=10, choices=Kind)
    ref = models.CharField("what", max_length=250, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    until = models.DateTimeField(null=True, blank=True)
    requested_by = models.CharField(max_length=150, blank=True)
    requested_from = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField("when", db_default=Now())
    outcome = models.CharField(max_length=8, choices=Outcome, default=Outcome.WAITING, blank=True)
    answer = models.CharField(max_length=500, blank=True)
    answered_at = models.DateTimeField(null=True, blank=True)
    deployment = models.OneToOneField("ops.Deployment", models.SET_NULL, null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        default_permissions = ("view",)
        permissions = (
            ("request_deploy", "Can ask for a deployment"),
            ("request_rollback", "Can ask for a rollback"),
            ("request_cancel", "Can ask to cancel a deployment"),
            ("request_freeze", "Can ask to freeze deployments"),
            ("request_unfreeze", "Can ask to lift a freeze"),
        )
        constraints = (
            # Postgres knows times that nobody can read, and a row that cannot be read stops others.
            models.CheckConstraint(
                condition=models.Q(until=None)
                | models.Q(until__range=("2000-01-01T00:00Z", "2200-01-01T00:00Z")),
                name="ops_request_until_is_a_time",
            ),
        )
        indexes = (
            models.Index(
                fields=("-id",), name="ops_request_waiting", condition=models.Q(outcome="")
            ),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.ref}".strip()
