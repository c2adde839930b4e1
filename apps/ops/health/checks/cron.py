"""The crontab's jobs: was each one started when it was due, and how did its last run end?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from django.conf import settings as django

from apps.ops.conf import OpsSettings
from apps.ops.health.checks import sql
from apps.ops.health.result import Figure, Result, bad, good, unknown
from apps.ops.models import JobRun

if TYPE_CHECKING:
    from apps.ops.agent import crontab

# The agent looks every few seconds; a busy machine may take a little longer.
GRACE = timedelta(minutes=2)
FAILED = {
    JobRun.Status.FAILED: "failed",
    JobRun.Status.TIMED_OUT: "was ended at its deadline",
    JobRun.Status.LOST: "was lost with the agent",
    JobRun.Status.MISSED: "was missed: no agent was there",
}
# When each of the site's jobs was last due: they run without the state volume.
_DUE = "SELECT job, max(due) FROM ops_jobrun WHERE job = ANY(%s) GROUP BY job"
# Of operations' jobs the site's rows do not count.
_LAST = """
SELECT DISTINCT ON (job) job, status, exit_code, due
FROM ops_jobrun
WHERE job = ANY(%s) AND status NOT IN ('running', 'skipped')
    AND (by_operations OR NOT job = ANY(%s))
ORDER BY job, due DESC, id DESC
"""
# The first run of each job that was skipped after the run before it was due, and had ended.
_SKIPPED = """
WITH ran AS (
    SELECT job, max(greatest(due, finished_at)) AS at
    FROM ops_jobrun
    WHERE job = ANY(%s) AND status <> 'skipped'
    GROUP BY job
)
SELECT job, min(due)
FROM ops_jobrun LEFT JOIN ran USING (job)
WHERE job = ANY(%s) AND status = 'skipped' AND due > coalesce(ran.at, '-infinity')
GROUP BY job
"""


def look(settings: OpsSettings) -> Result:
    # The agent stands above health, and is where the crontab is read: only when it is looked at.
    from apps.ops.agent import crontab
    from apps.ops.agent.runs import Runs

    table = crontab.of(settings, django.BASE_DIR)
    figures: dict[str, Figure] = {"jobs": len(table.jobs)}
    if table.problems:
        return bad(
            f"The crontab has a line that does not count, {table.problems[0]}.",
            next=f"correct {settings.crontab} and deploy",
            **figures,
        )
    now, runs = datetime.now(UTC), Runs(settings.state_dir)
    own = [job for job in table.jobs if job.is_own]
    if late := _late(own, {job.command: runs.last_due(job.command) for job in own}, now):
        return bad(late, next="docker compose logs --tail 50 utility", **figures)
    commands = [job.command for job in table.jobs]
    try:
        with sql.asking() as postgres:
            due = dict(postgres.execute(_DUE, [commands]).fetchall())
            ended = postgres.execute(_LAST, [commands, [j.command for j in own]]).fetchall()
            skipped = dict(postgres.execute(_SKIPPED, [commands, commands]).fetchall())
    except sql.Away as away:
        return unknown(f"Postgres has the jobs' runs and does not tell. {away}.", next=away.next)
    if late := _late([job for job in table.jobs if not job.is_own], due, now):
        return bad(late, next="docker compose logs --tail 50 jobs", **figures)
    for job in table.jobs:
        # What keeps it from running had to be ended by then.
        seconds = timedelta(seconds=max(line.seconds for line in job.lines))
        since = skipped.get(job.command)
        if since and now - since > seconds + GRACE:
            return bad(
                f'"{job.command}" has been skipped since {since:%Y-%m-%d %H:%M} UTC: the run '
                "before it does not let go of its lock.",
                next=f"docker compose restart {'utility' if job.is_own else 'jobs'}",
                **figures,
            )
    failed = [row for row in ended if row[1] in FAILED and not _elsewhere(row[0], row[2])]
    if failed:
        command, status, code, due = failed[0]
        ending = f" (exit code {code})" if code else ""
        more = f" {len(failed) - 1} more did not end well." if len(failed) > 1 else ""
        return bad(
            f'The last run of "{command}", due at {due:%Y-%m-%d %H:%M} UTC, '
            f"{FAILED[status]}{ending}.{more}",
            next="/admin/ops/jobrun/   # has its output",
            **figures,
            failing=len(failed),
        )
    count = len(table.jobs)
    return good(f"{count} job{' is' if count == 1 else 's are'} on time.", **figures)


def _late(
    jobs: Sequence[crontab.Job], last_due: Mapping[str, datetime | None], now: datetime
) -> str:
    """What is said of the first that was due and not started. One that no agent has seen yet is not
    late."""
    for job in jobs:
        last = last_due.get(job.command)
        due = job.next(last) if last else None
        if due and now - due > GRACE:
            return f'"{job.command}" was due at {due:%Y-%m-%d %H:%M} UTC and was not started.'
    return ""


def _elsewhere(command: str, code: int | None) -> bool:
    """Whether another check says it. check_health that found something did its work: counted as a
    failure, it would find itself for ever. A canary that did not come back, as one may while a
    deployment changes the worker, is for `workers`, which looks at the age of the last one."""
    words = command.split()
    return ("check_health" in words and code in (1, 3)) or ("canary" in words and code == 1)
