"""Whoever breaks into the site has a shell in its container: what its database and its environment
let them do."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.rig.attacks import FORBIDDEN, REFUSAL
from tests.rig.stack import ScratchStack, run

TRY = """
import json, sys
import django
django.setup()
from django.db import DatabaseError, connection
said = {}
for what, statement in json.load(sys.stdin).items():
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
        said[what] = ""
    except DatabaseError as error:
        said[what] = str(error)
print(json.dumps(said))
"""


def container(stack: ScratchStack, service: str) -> str:
    return f"{stack.project}-{service}-1"


def live(stack: ScratchStack) -> str:
    return container(stack, {"blue": "django-a", "green": "django-b"}[stack.status()["live"]])


def inside(name: str, code: str, stdin: str = "") -> Any:
    """What Python in a container prints, with the environment that its service has."""
    settings = ("--env", "DJANGO_SETTINGS_MODULE=config.settings")
    done = run(
        ["docker", "exec", "--interactive", *settings, name, "python", "-c", code], stdin=stdin
    )
    return json.loads(done.output.splitlines()[-1])


def test_what_is_tried_with_the_sites_connection_is_refused(stack: ScratchStack) -> None:
    for name in (live(stack), container(stack, "django-q")):
        said = inside(name, TRY, json.dumps(FORBIDDEN))
        let_through = {k: v for k, v in said.items() if not re.search(REFUSAL, v)}
        assert said.keys() == FORBIDDEN.keys()
        assert let_through == {}, name


def test_neither_their_environment_nor_docker_inspect_shows_a_secret(stack: ScratchStack) -> None:
    secrets = [stack.setting(name) for name in ("SECRET_KEY", "POSTGRES_PASSWORD")]
    for name in (live(stack), container(stack, "django-q")):
        shown = run(["docker", "inspect", name]).output
        shown += run(["docker", "exec", name, "cat", "/proc/1/environ"]).output
        for secret in secrets:
            assert secret not in shown, name


def test_the_passwords_of_the_other_roles_are_nowhere_in_reach(stack: ScratchStack) -> None:
    name = live(stack)
    files = run(["docker", "exec", name, "find", "/run/secrets", "-type", "f"]).output.split()
    assert set(files) <= {
        f"/run/secrets/web/{secret}"
        for secret in ("POSTGRES_PASSWORD", "SECRET_KEY", "SECRET_KEY_FALLBACKS", "EMAIL_URL")
    }
    assert "/run/secrets/web/POSTGRES_PASSWORD" in files
    written = run(
        ["docker", "exec", name, "sh", "-c", "echo x >/run/secrets/web/SECRET_KEY"], check=False
    )
    assert written.code != 0


def test_health_says_that_the_roles_are_as_they_should_be(stack: ScratchStack) -> None:
    code = (
        "from apps.ops.health.checks.roles import look\n"
        "from django.conf import settings\n"
        "found = look(settings.OPS)\n"
        "print(found.status, found.summary)"
    )
    assert stack.django_shell(code).strip().splitlines()[-1].startswith("good Web and worker")


def test_no_program_is_left_behind_and_the_processes_are_bounded(stack: ScratchStack) -> None:
    for name in (live(stack), *(container(stack, s) for s in ("django-q", "postgres", "redis"))):
        found = json.loads(run(["docker", "inspect", name]).output)[0]["HostConfig"]
        assert found["ReadonlyRootfs"], name
        assert found["CapDrop"] == ["ALL"], name
        assert 0 < found["PidsLimit"] <= 4096, name
        assert "no-new-privileges:true" in found["SecurityOpt"], name


def test_redis_is_a_cache_for_the_site_and_nothing_else(stack: ScratchStack) -> None:
    code = """
import json
import redis
from django.conf import settings
client = redis.Redis.from_url(settings.REDIS_URL)
tried = ("CONFIG GET dir", "MODULE LIST", "REPLICAOF evil 6379", "SAVE", "SHUTDOWN", "ACL LIST",
         "SCRIPT LOAD x", "MONITOR")
said = {}
for words in tried:
    try:
        said[words] = repr(client.execute_command(*words.split()))
    except redis.ResponseError as error:
        said[words] = str(error)
client.set("attacker", 1, ex=5)
print(json.dumps([said, client.get("attacker").decode()]))
"""
    said, kept = inside(live(stack), code)
    assert kept == "1"
    assert {what for what, answer in said.items() if "no permissions" not in answer} == set()
