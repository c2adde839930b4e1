"""What the production stack is, as it runs."""

from __future__ import annotations

import json
from http.client import HTTPConnection

from tests.rig.stack import ScratchStack, run


def inspect(stack: ScratchStack, service: str) -> dict:
    found = run(["docker", "inspect", f"{stack.project}-{service}-1"]).output
    container: dict = json.loads(found)[0]
    return container


SERVICES = ("postgres", "redis", "caddy", "django-q")


def test_only_caddy_publishes_ports_and_they_are_where_env_says(stack: ScratchStack) -> None:
    for service in (*SERVICES, live_service(stack)):
        ports = inspect(stack, service)["HostConfig"]["PortBindings"] or {}
        assert bool(ports) == (service == "caddy"), service


def test_web_and_worker_are_a_normal_user_without_docker(stack: ScratchStack) -> None:
    for service in (live_service(stack), "django-q"):
        container = inspect(stack, service)
        assert container["Config"]["User"] == "10001:10001"
        assert not [m for m in container["Mounts"] if "docker.sock" in m["Source"]]
        assert container["HostConfig"]["CapDrop"] == ["ALL"]


def test_every_service_has_a_health_check_a_restart_policy_and_bounded_logs(
    stack: ScratchStack,
) -> None:
    for service in (*SERVICES, live_service(stack)):
        container = inspect(stack, service)
        assert container["Config"]["Healthcheck"]["Test"], service
        assert container["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert container["HostConfig"]["LogConfig"]["Config"]["max-size"] == "10m"
        assert container["HostConfig"]["Memory"] > 0


def test_a_stopped_worker_runs_its_tasks_to_their_end(stack: ScratchStack) -> None:
    """SIGTERM reaches qcluster's main process alone: sent to all of them it would cut a task."""
    code = "from django_q.tasks import async_task, fetch\nprint(async_task('time.sleep', 4))"
    task = stack.django_shell(code).strip().splitlines()[-1]
    wait = (
        "import time\n"
        "from django_q.models import OrmQ\n"
        "from django_q.tasks import fetch\n"
        "deadline = time.monotonic() + 60\n"
        "while not all(q.lock and q.lock.year > 2000 for q in OrmQ.objects.all()): pass\n"
        "time.sleep(1)"
    )
    stack.django_shell(wait)
    stack.compose("stop", "django-q")
    code = f"from django_q.tasks import fetch; t = fetch('{task}'); print(t and t.success)"
    ended = stack.django_shell(code).strip().splitlines()[-1]
    stack.compose("up", "--detach", "--no-deps", "--no-build", "--no-recreate", "django-q")

    assert ended == "True"


def test_status_works_with_postgres_down_and_says_so(stack: ScratchStack) -> None:
    stack.compose("stop", "postgres")
    try:
        result = stack.manage("status")
        as_json = stack.status()
    finally:
        stack.compose("up", "--detach", "--wait", "--no-recreate", "postgres")

    assert result.code == 1
    assert "Postgres does not answer" in result.output
    assert "Traceback" not in result.output + result.errors
    assert as_json["live"] in ("blue", "green")
    assert as_json["colors"][as_json["live"]]["status"] == "running"


def test_both_colours_down_gives_visitors_a_503_that_says_when_to_come_back(
    stack: ScratchStack,
) -> None:
    service = live_service(stack)
    stack.compose("stop", service)
    try:
        connection = HTTPConnection("127.0.0.1", stack.port, timeout=30)
        connection.request("GET", "/", headers={"Host": "localhost"})
        answer = connection.getresponse()
        body = answer.read().decode()
        status = stack.status()
    finally:
        stack.compose("up", "--detach", "--no-deps", "--no-build", "--no-recreate", service)

    assert (answer.status, answer.getheader("Retry-After")) == (503, "30")
    assert answer.getheader("Cache-Control") == "no-store"
    assert "Back in a moment" in body
    assert any("its container does not run" in problem for problem in status["problems"])


def test_compose_in_a_subfolder_does_not_take_the_local_file_for_productions(
    stack: ScratchStack,
) -> None:
    argv = ["docker", "compose", "config", "--quiet"]

    assert run(argv, cwd=stack.site, check=False).code == 0
    assert run(argv, cwd=stack.site / "apps", check=False).code != 0


def test_a_deployment_that_was_killed_is_said_to_be_dead_and_the_next_one_puts_it_right(
    stack: ScratchStack,
) -> None:
    deployment = stack.start_manage("deploy", "--format", "json")
    assert deployment.stdout
    for line in deployment.stdout:
        if '"step_started"' in line and '"start"' in line:
            break
    run(["docker", "kill", *stack.containers("utility", one_off=True)])
    deployment.communicate(timeout=60)

    status = stack.status()
    assert status["deploying"] is None
    assert any("ended without a word in start" in problem for problem in status["problems"])

    assert stack.deploy().code == 0
    after = stack.status()
    assert after["problems"] == []
    assert [d["status"] for d in after["deployments"][:2]] == ["succeeded", "interrupted"]


def test_a_preview_shows_the_standby_to_whoever_has_its_address(stack: ScratchStack) -> None:
    stack.deploy()
    standby = {"blue": "green", "green": "blue"}[stack.status()["live"]]

    result = stack.manage("preview", standby)
    token = result.output.partition("ops-preview=")[2].split()[0]

    def color(*headers: tuple[str, str]) -> str | None:
        connection = HTTPConnection("127.0.0.1", stack.port, timeout=30)
        connection.request("GET", "/", headers={"Host": "localhost", **dict(headers)})
        return connection.getresponse().getheader("X-Color")

    assert result.code == 0
    assert color(("Cookie", f"ops-preview={token}")) == standby
    assert color() != standby
    assert stack.manage("preview", "red").code == 2


def live_service(stack: ScratchStack) -> str:
    return {"blue": "django-a", "green": "django-b"}[stack.status()["live"]]
