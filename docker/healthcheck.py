"""The containers' own health check. Standard library only: it runs every few seconds, and booting
Django each time would cost more than the site does."""

import os
import socket
import sys
from http.client import HTTPConnection
from pathlib import Path
from time import time

SECONDS = 2.0
AGENT_SECONDS = 30.0


def web_answers() -> bool:
    connection = HTTPConnection("127.0.0.1", 8000, timeout=SECONDS)
    connection.request("GET", "/health/live")
    return connection.getresponse().status == 200


def workers_run() -> bool:
    """django-q2's main process, guard, monitor, pusher and at least one worker are there.

    A count and no more: whether tasks come back is what a canary task tells.
    """
    commands = [_command(p) for p in Path("/proc").iterdir() if p.name.isdigit()]
    # Docker's init has the whole command as its arguments and is none of them.
    return sum(c.startswith(b"python") and b"qcluster" in c for c in commands) >= 5


def agent_beats() -> bool:
    """It does every second, and while it stops; what it starts cannot hold it up."""
    state = Path(os.environ.get("OPS_STATE_DIR") or "/var/lib/changeover")
    return time() - (state / "agent" / "heartbeat").stat().st_mtime < AGENT_SECONDS


def hears_the_engine() -> bool:
    """An engine runs, for it runs this: who does not reach it has the socket of the one before."""
    kind, _, path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").partition("://")
    if kind == "unix":
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(SECONDS)
            engine.connect(path)
    return True


def _command(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


CHECKS = {
    "worker": workers_run,
    "utility": lambda: agent_beats() and hears_the_engine(),
    "jobs": agent_beats,
}

try:
    healthy = CHECKS.get(os.environ.get("ROLE", ""), web_answers)()
except OSError as error:
    sys.exit(f"unhealthy: {error}")
sys.exit(0 if healthy else "unhealthy")
