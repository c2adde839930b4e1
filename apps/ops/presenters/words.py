"""The words that every presenter uses for the same thing."""

from __future__ import annotations

from collections.abc import Iterator

from apps.ops.deploys.events import Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.exits import EXIT_CODES


def headline(outcome: Outcome) -> str:
    number = f"deployment #{outcome.deployment} " if outcome.deployment else ""
    meaning = EXIT_CODES.get(outcome.exit_code)
    ending = (meaning.word if meaning else "failed").capitalize()
    return f"{ending}: {number}after {outcome.seconds:.1f} s (exit code {outcome.exit_code})"


def plan_facts(plan: Plan) -> Iterator[tuple[str, str]]:
    yield "release", f"{plan.commit.short} {plan.commit.subject} ({plan.commit.author})"
    yield (
        "live",
        (f"{plan.live}, release {plan.live_release[:12]}" if plan.live_release else "nothing yet"),
    )
    yield "candidate", f"{plan.candidate} ({plan.candidate.service})"
    if plan.commit.sha == plan.live_release:
        yield "commits", "none: this release is live already"
    elif plan.live_release and not plan.commits:
        yield "commits", "none: it is older than what is live"
    else:
        yield "commits", f"{plan.commits_total}"
    if plan.environment is not None:
        yield "environment", plan.environment.in_words()
