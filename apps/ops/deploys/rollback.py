"""Going back: to which release, and whether its code runs on today's schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.db import DatabaseError, connection

from apps.ops.deploys import journal
from apps.ops.deploys.context import Deploy
from apps.ops.deploys.plan import Plan, migration_files
from apps.ops.deploys.steps.bake import GOOD, TOO_FEW
from apps.ops.errors import OpsError, Refused
from apps.ops.models import Deployment, Release
from apps.ops.schema.compat import compatibility
from apps.ops.source import Commit

# How far back a stable release is looked for.
ENTRIES = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """What a deployment says about two releases: the one it was of, and the one that was live.
    `bake` is its verdict, "" when it was not watched: one that stayed live because there was no way
    back is "worse", too. `swapped`: whether the traffic moved to it, if only for a while."""

    kind: str
    status: str
    release: str
    previous: str
    bake: str = ""
    swapped: bool = False


@dataclass(frozen=True, slots=True)
class SchemaVerdict:
    """`kind` is "safe", "reverse", "impossible" or "not known"; `names` are the migrations to be
    reversed, the newest first."""

    kind: str
    why: str
    advice: str = ""
    names: tuple[str, ...] = ()


def stable_releases(entries: Iterable[Entry]) -> list[str]:
    """Releases that went live, passed their bake and were not left since, the newest first.

    Args:
        entries: the history, newest first. What it last says of a release counts: one that was
            moved back by its bake, or that somebody rolled back from, is not stable until it is
            deployed again.
    """
    verdicts: dict[str, bool] = {}
    for entry in entries:
        if entry.status == Deployment.Status.SUCCEEDED:
            verdicts.setdefault(entry.release, entry.bake in ("", GOOD, TOO_FEW))
            if entry.kind == Deployment.Kind.ROLLBACK and entry.previous != entry.release:
                verdicts.setdefault(entry.previous, False)
        elif entry.status == Deployment.Status.ROLLED_BACK:
            verdicts.setdefault(entry.release, False)
    return [release for release, stable in verdicts.items() if stable and release]


def make_rollback_plan(deploy: Deploy) -> Plan:
    """Which release a rollback goes to: the one asked for, or the newest stable one that differs.

    Raises:
        Refused: there is none, it is live already, or its image was not kept.
    """
    live = deploy.edge.live()
    service = deploy.engine.service(live.service)
    current = service.release if service else ""
    # Without the site's own image there is nothing to start.
    images = deploy.engine.releases_with_images()
    kept = {release for release, tags in images.items() if release in tags}
    entries = _entries(deploy)
    stable = [r for r in stable_releases(entries) if r in kept and r != current]
    if deploy.ref is None:
        if not stable:
            raise Refused(
                "There is no stable release to go back to whose image was kept.",
                next="manage.py history   # then: manage.py rollback RELEASE, or deploy an old ref",
            )
        release = stable[0]
    else:
        release = _asked_for(deploy.ref, sorted(kept))
        if release == current:
            raise Refused(
                f"Release {release[:12]} is live already ({live}).",
                next="manage.py rollback   # without a release: the newest stable one that differs",
            )
        if deploy.requested and release not in stable:
            raise Refused(
                f"Release {release[:12]} was not live and stable, as far as the journal tells: it "
                "may not be asked for through the site.",
                next=f"manage.py rollback {release[:12]}   # on the server",
            )
        went_live = {entry.release for entry in entries if entry.swapped}
        if went_live and release not in went_live and not deploy.options.allow_incompatible:
            raise Refused(
                f"Release {release[:12]} was built here and never went live, so its migrations and "
                "static files may be missing.",
                next=f"manage.py deploy {release[:12]}",
            )
    return Plan(_commit(deploy, release), live, current, image_exists=True)


def judge_schema(deploy: Deploy) -> SchemaVerdict:
    """Whether the plan's release runs on the schema as the database has it now."""
    release = deploy.plan.commit.sha
    try:
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '2s'")
            cursor.execute("SELECT app || '.' || name FROM django_migrations ORDER BY id DESC")
            applied = [str(row[0]) for row in cursor.fetchall()]
        releases = Release.objects.in_bulk([release, deploy.plan.live_release], field_name="sha")
        recorded: dict[str, dict[str, Any]] = {}
        for migrations in Deployment.objects.order_by("id").values_list("migrations", flat=True):
            recorded |= {str(m["name"]): m for m in migrations}
    except DatabaseError:
        return SchemaVerdict(
            "not known", "Postgres does not answer, so today's schema is not known"
        )
    finally:
        connection.close()
    known, live_knows = (
        releases[sha].migrations if sha in releases else None
        for sha in (release, deploy.plan.live_release)
    )
    extra = [
        name
        for name in applied
        if not _knows(deploy, release, known, name)
        # What neither knows was squashed away, or is of an app that is gone.
        and (name in recorded or live_knows is None or name in live_knows)
    ]
    lacking = [
        name
        for name in known or ()
        # What was never judged here is a squashed one that Django takes for applied.
        if name in recorded and name not in applied and recorded[name]["phase"] == "before"
    ]
    if lacking:
        return SchemaVerdict(
            "impossible",
            f"it needs {lacking[0]}, which is not applied",
            f"manage.py deploy {release[:12]}   # applies it",
        )
    if not extra:
        return SchemaVerdict("safe", "the schema is the one it knows")
    verdict = compatibility([recorded.get(name, _unrecorded(name)) for name in extra])
    if verdict.kind == "reverse":
        back = (
            f"manage.py rollback {release[:12]} --maintenance   # reverses "
            f"{', '.join(verdict.names)} behind the maintenance page, after a backup"
        )
        return SchemaVerdict("reverse", verdict.why, back, verdict.names)
    advice = "" if verdict.kind == "safe" else "manage.py rollback --allow-incompatible   # anyway"
    return SchemaVerdict(verdict.kind, verdict.why, advice)


def _knows(deploy: Deploy, release: str, known: list[str] | None, name: str) -> bool:
    if known is not None:
        return name in known
    # Recorded before releases told what they know: its own files do, packages' are taken for known.
    own = {".".join(key) for key in migration_files(deploy.checkout.files(release))}
    return name in own or name.partition(".")[0] not in {n.partition(".")[0] for n in own}


def _unrecorded(name: str) -> dict[str, Any]:
    why = "it was not applied by a deployment, so what it does is not recorded"
    return {
        "name": name,
        "kind": "contract",
        "reversible": False,
        "operations": [{"what": name, "kind": "contract", "why": why, "advice": ""}],
    }


def _entries(deploy: Deploy) -> list[Entry]:
    if deploy.requested:
        return _of_the_journal(deploy)
    try:
        rows = Deployment.objects.filter(release__isnull=False).order_by("-id")
        found = rows.values_list(
            "kind", "status", "release__sha", "previous_release__sha", "bake__verdict", "swapped_at"
        )
        return [Entry(k, s, r, p or "", b or "", bool(at)) for k, s, r, p, b, at in found[:ENTRIES]]
    except DatabaseError:
        connection.close()
    return _of_the_journal(deploy)


def _of_the_journal(deploy: Deploy) -> list[Entry]:
    return [
        Entry(
            s.kind,
            s.ended["status"],
            s.plan["commit"]["sha"],
            s.plan["live_release"],
            s.bake.get("verdict", ""),
            bool(s.swapped_at),
        )
        for s in journal.stories(deploy.settings.state_dir)
        if s.ended and s.plan
    ]


def _asked_for(ref: str, kept: list[str]) -> str:
    matching = [release for release in kept if len(ref) >= 4 and release.startswith(ref.lower())]
    if len(matching) == 1:
        return matching[0]
    which = "is the beginning of several" if matching else "is not a release whose image was kept"
    raise Refused(
        f"{ref!r} {which}: {', '.join(r[:12] for r in kept) or 'there is none'}.",
        next="manage.py history   # or: manage.py deploy REF, which builds it again",
    )


def _commit(deploy: Deploy, release: str) -> Commit:
    try:
        return deploy.checkout.commit(release)
    except (OpsError, OSError, ValueError):
        # The way back does not depend on git.
        return Commit(release, "", datetime.now(UTC), "")
