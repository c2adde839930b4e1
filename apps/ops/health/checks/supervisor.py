"""The programs that supervisor keeps up, where it and not systemd does that."""

from __future__ import annotations

import socket
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error, ServerProxy, Transport

from apps.ops.conf import OpsSettings
from apps.ops.health.checks.limits import SECONDS
from apps.ops.health.result import Result, bad, good, unknown

# http://supervisord.org/subprocess.html#process-states
TROUBLED = ("BACKOFF", "FATAL", "UNKNOWN")


def look(settings: OpsSettings) -> Result:
    path = settings.supervisor_socket
    try:
        programs = _programs(path)
    except (FileNotFoundError, NotADirectoryError):
        return good("Supervisor is not used on this server.")
    except PermissionError:
        return unknown(f"{path} does not let this user in.", next="sudo supervisorctl status")
    except (OSError, HTTPException, ExpatError, Error, ValueError, KeyError, TypeError) as error:
        return bad(
            f"Supervisor does not answer as it should ({type(error).__name__}: {error}).",
            next="sudo supervisorctl status   # then: sudo service supervisor restart",
        )
    troubled = {name: said for name, said in programs.items() if said}
    if troubled:
        name, said = next(iter(troubled.items()))
        more = f", and {len(troubled) - 1} more" if len(troubled) > 1 else ""
        return bad(
            f"{name} is {said}{more}.",
            next=f"sudo supervisorctl tail {name}   # then: sudo supervisorctl restart {name}",
            programs=len(programs),
            troubled=", ".join(troubled),
        )
    return good(
        f"Supervisor's {len(programs)} programs are as they should be.", programs=len(programs)
    )


def _programs(path: Path) -> dict[str, str]:
    """What is wrong with each program; "" when it runs, was stopped by hand or ended as it may."""
    with ServerProxy("http://supervisor", transport=_Unix(path)) as proxy:
        answer: Any = proxy.supervisor.getAllProcessInfo()
    return {_name(program): _wrong(program) for program in answer}


def _name(program: dict[str, Any]) -> str:
    group, name = str(program["group"]), str(program["name"])
    return name if group == name else f"{group}:{name}"


def _wrong(program: dict[str, Any]) -> str:
    state = str(program["statename"])
    if state == "EXITED" and program["exitstatus"]:
        return f"EXITED with exit code {program['exitstatus']}"
    if state in TROUBLED:
        why = str(program["spawnerr"] or program["description"])
        return f"{state} ({why})" if why else state
    return ""


class _Unix(Transport):
    """XML-RPC over the socket that only root opens: http://supervisord.org/api.html"""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def make_connection(self, host: Any) -> HTTPConnection:
        return _UnixConnection(self._path)


class _UnixConnection(HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("supervisor", timeout=SECONDS)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
