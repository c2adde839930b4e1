"""`just doctor` and `logs` on the production stack, whole and hurt."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from itertools import pairwise

from tests.rig.stack import Result, ScratchStack, run


def doctor(stack: ScratchStack, *arguments: str) -> Result:
    return run([str(stack.site / "docker/doctor"), *arguments], seconds=120, check=False)


def statuses(told: Result) -> dict[str, str]:
    return {f["name"]: f["status"] for f in json.loads(told.output)["findings"]}


def test_of_a_stack_that_is_well_nothing_of_it_is_said_to_be_wrong(stack: ScratchStack) -> None:
    found = statuses(doctor(stack, "--format", "json"))
    ours = ("docker", "live", "front-door", "deployment", "maintenance", "postgres", "redis")

    assert {name: found[name] for name in ours} == dict.fromkeys(ours, "good")


def test_with_the_live_colour_dead_and_the_rest_hung_it_says_which_and_what_to_type(
    stack: ScratchStack,
) -> None:
    live = {"blue": "django-a", "green": "django-b"}[stack.status()["live"]]
    hung = [f"{stack.project}-{service}-1" for service in ("postgres", "redis", "caddy")]
    run(["docker", "pause", *hung])
    try:
        run(["docker", "kill", f"{stack.project}-{live}-1"])
        told = doctor(stack)
    finally:
        run(["docker", "unpause", *hung])
        stack.compose("up", "--detach", "--no-deps", "--no-build", "--no-recreate", "--wait", live)

    assert told.code == 1, told.errors
    assert "Traceback" not in told.output + told.errors
    for service in ("postgres", "redis", "caddy"):
        assert f"!! service-{service}: {service} is paused." in told.output
        assert f"→ docker compose unpause {service}" in told.output
    assert f"({live}) is live and does not run" in told.output
    assert f"→ docker compose up -d --no-deps --no-recreate --no-build {live}" in told.output
    assert "No deployment runs" in told.output
    assert f"What {live} said last" in told.output


def test_logs_tell_the_services_apart_and_leave_out_their_own_container(
    stack: ScratchStack,
) -> None:
    told = stack.manage("logs", "--since", "1d", "--format", "json")
    lines = [json.loads(line) for line in told.output.splitlines()]

    assert told.code == 0
    # Docker itself writes a container's two outputs a few microseconds out of order.
    times = [datetime.fromisoformat(line["time"][:26]) for line in lines]
    assert all(a - b < timedelta(seconds=1) for a, b in pairwise(times))
    assert {"postgres", "redis", "caddy", "django-q"} <= {line["service"] for line in lines}
    assert {"blue", "green"} & {line["color"] for line in lines}
