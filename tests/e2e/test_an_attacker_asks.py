"""An attacker with a shell in the live web container, who writes what they like into Postgres: no
code of theirs is deployed, nobody else's name is taken, and a freeze stays."""

from __future__ import annotations

import json
from time import monotonic, sleep
from typing import Any

import pytest

from tests.rig.stack import ScratchStack

HUNG_SECONDS = 120.0

# Through whatever connection the web has; what its role may not do fails and is gone on with.
RUN = """
import django
django.setup()
from django.db import DatabaseError, connection
for statement, values in STATEMENTS:
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
        print("done")
    except DatabaseError as error:
        print("refused", str(error).splitlines()[0])
"""
ASK = """
INSERT INTO ops_request (kind, ref, reason, requested_by, requested_from, outcome, answer)
VALUES (%s, %s, '', 'root', '127.0.0.1', 'accepted', 'fine')
"""
FORGE = """
INSERT INTO ops_deployment (uid, kind, status, ref, color, requested_by, requested_from, created_at,
    error, traffic, next, commits, commits_total, warnings)
VALUES (%s, 'deploy', 'queued', 'evil', '', 'root', '', now(), '', '', '', '[]', 0, '[]')
"""
Statement = tuple[str, list[str]]


def in_web(stack: ScratchStack, *statements: Statement) -> list[str]:
    """Run SQL from inside the web container; how each went."""
    live = stack.status()["front_door"]["color"]
    service = {"blue": "django-a", "green": "django-b"}[live]
    code = f"STATEMENTS = {list(statements)!r}\n{RUN}"
    env = ("--env", "DJANGO_SETTINGS_MODULE=config.settings")
    return stack.compose("exec", "-T", *env, service, "python", "-c", code).output.splitlines()


def answers(stack: ScratchStack, count: int) -> list[dict[str, Any]]:
    """The agent's answers, once the newest so many have one; the newest first."""
    code = (
        "import json; from apps.ops.models import Request\n"
        "print(json.dumps(list(Request.objects.values('kind', 'outcome', 'answer')"
        f"[:{count}])))"
    )
    deadline = monotonic() + HUNG_SECONDS
    while True:
        rows: list[dict[str, Any]] = json.loads(stack.django_shell(code).strip().splitlines()[-1])
        if len(rows) == count and all(row["outcome"] for row in rows):
            return rows
        assert monotonic() < deadline, rows
        sleep(1)


def test_a_forged_request_deploys_no_branch_of_theirs_and_says_so(stack: ScratchStack) -> None:
    before = stack.status()
    stack.commit("Mine now", lambda project: None, branch="evil")

    assert in_web(stack, (ASK, ["deploy", "evil"]), (ASK, ["deploy", "--override"]))[0] == "done"

    said = answers(stack, 2)
    assert [row["outcome"] for row in said] == ["refused", "refused"]
    assert "'evil' may not be asked for through the site, only main" in said[1]["answer"]
    after = stack.status()
    assert after["front_door"] == before["front_door"]
    assert after["deployments"] == before["deployments"]


def test_a_freeze_is_not_lifted_from_there(stack: ScratchStack) -> None:
    stack.manage("freeze", "market")
    try:
        in_web(
            stack,
            ("UPDATE ops_freeze SET lifted_at = now(), lifted_by = 'root'", []),
            ("DELETE FROM ops_freeze", []),
            (ASK, ["unfreeze", ""]),
        )
        [said] = answers(stack, 1)
        assert "made at the command line, and is lifted only there" in said["answer"]

        refused = stack.deploy()

        assert refused.code == 4
        assert "market" in refused.output
    finally:
        stack.manage("unfreeze")


@pytest.mark.parametrize("uid", ["20261123T120000-abcdef", "../../x"])
def test_a_row_forged_into_the_history_itself_deploys_nothing_of_theirs(
    stack: ScratchStack, uid: str
) -> None:
    before = stack.status()["front_door"]
    # The freeze without a reason is refused: then the agent has looked.
    in_web(stack, (FORGE, [uid]), (ASK, ["freeze", ""]))
    answers(stack, 1)

    def waits() -> bool:
        code = "from apps.ops.models import Deployment\n"
        code += "print(Deployment.objects.filter(status='queued').exists())"
        return "True" in stack.django_shell(code)

    deadline = monotonic() + HUNG_SECONDS
    while waits():
        assert monotonic() < deadline
        sleep(1)
    assert stack.status()["front_door"] == before
