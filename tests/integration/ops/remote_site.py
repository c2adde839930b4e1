"""A checkout whose utility container says what a test wants: behind a real sshd, run by the real
Docker and Compose."""

from __future__ import annotations

import json
import secrets
import subprocess
from pathlib import Path

from tests.servers import HUNG_SECONDS

IMAGE = "python:3.13-slim-trixie"

# In manage.py's place. `backup_db` writes as many lines as it is told, `deploy` a deployment's
# events, `status` and `shell` what they were given.
SCRIPT = """
import json, os, signal, sys, time
command, rest = sys.argv[3], sys.argv[4:]
def stop(*_):
    print("asked to stop", flush=True)
    sys.exit(130)
signal.signal(signal.SIGTERM, stop)
if command == "backup_db":
    lines, pause, code = int(rest[1]), float(rest[3]), int(rest[5])
    for number in range(lines):
        print("out", number, flush=True)
        if number % 7 == 0:
            print("err", number, file=sys.stderr, flush=True)
        time.sleep(pause)
    print("long " + "x" * 100_000)
    sys.exit(code)
if command == "deploy":
    def tell(event, **fields):
        print(json.dumps({"event": event, "time": "now", **fields}), flush=True)
    tell("started", deployment=7, ref="main")
    tell("step_started", step="fetch", position=0)
    tell("step_succeeded", step="fetch", summary=" ".join(rest), seconds=0.1)
    tell("from the future", what="?")
    def ended(status, code, error):
        tell("ended", status=status, exit_code=code, seconds=1.0, deployment=7, warnings=[],
             ready_at=None, swapped_at=None, drained_at=None, error=error)
        sys.exit(code)
    if "slow" in rest:
        signal.signal(signal.SIGTERM, lambda *_: ended("failed", 130, None))
        tell("step_started", step="bake", position=1)
        time.sleep(600)
    error = {"found": "It broke.", "traffic": "It is as it was.", "next": "deploy", "output": "why"}
    ended("failed", 1, error)
if command == "status":
    by = os.environ.get("OPS_REQUESTED_BY")
    print(json.dumps({"by": by, "words": rest, "here": os.getcwd()}))
    print("on stderr", file=sys.stderr)
if command == "shell":
    print("reading", flush=True)
    print(repr(sys.stdin.read()))
    sys.exit(5)
if command == "logs":
    while True:
        print("ready", flush=True)
        time.sleep(0.1)
"""


class Site:
    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.project = f"changeover-remote-{secrets.token_hex(4)}"
        directory.mkdir()
        utility = {
            "image": IMAGE,
            "pull_policy": "never",
            "init": True,
            "network_mode": "none",
            "entrypoint": ["python", "-c", SCRIPT.replace("$", "$$")],
        }
        (directory / "compose.yml").write_text(
            json.dumps({"name": self.project, "services": {"utility": utility}})
        )

    def containers(self) -> list[str]:
        """Of this site, running or not; the newest first."""
        label = f"label=com.docker.compose.project={self.project}"
        return self._docker("ps", "--all", "--filter", label, "--format", "{{.Names}}").split()

    def is_running(self, name: str) -> bool:
        return self._docker("inspect", "--format", "{{.State.Running}}", name).strip() == "true"

    def destroy(self) -> None:
        if names := self.containers():
            self._docker("rm", "--force", *names)

    def _docker(self, *arguments: str) -> str:
        return subprocess.run(
            ["docker", *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=HUNG_SECONDS,
        ).stdout
