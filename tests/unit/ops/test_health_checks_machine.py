"""What the checks of the machine itself say: its disks, memory, clock and supervisor."""

from __future__ import annotations

import os
import socket
import socketserver
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any
from xmlrpc.server import SimpleXMLRPCDispatcher, SimpleXMLRPCRequestHandler

import pytest

from apps.ops.health.checks import clock, disk, engine, memory, supervisor
from apps.ops.health.result import Status
from tests.conftest import OpsSettingsFactory


def test_a_disk_with_room_is_good_and_says_which_is_the_fullest(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    result = disk.look(ops_settings(state_dir=tmp_path, min_free_mb=0, health_disk_percent=100))

    assert result.status is Status.GOOD
    assert "is the fullest" in result.summary
    assert {"docker_percent", "state_percent", "docker_free_mb"} <= result.figures.keys()
    assert "static_percent" not in result.figures  # That directory is not there.


def test_a_disk_beyond_the_threshold_is_bad_and_named(ops_settings: OpsSettingsFactory) -> None:
    result = disk.look(ops_settings(health_disk_percent=0, min_free_mb=0))

    assert result.status is Status.BAD
    assert "full" in result.summary
    assert result.next.startswith("docker system df")


def test_less_room_than_a_deployment_wants_is_bad(ops_settings: OpsSettingsFactory) -> None:
    result = disk.look(ops_settings(health_disk_percent=100, min_free_mb=10**9))

    assert result.status is Status.BAD
    assert "a deployment wants 1000000000 and is refused" in result.summary


def test_a_volume_that_cannot_be_used_is_bad(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)

    result = disk.look(ops_settings(backup_dir=loop))

    assert result.status is Status.BAD
    assert f"{loop} (backups) cannot be used" in result.summary


def test_memory_is_held_against_its_threshold(ops_settings: OpsSettingsFactory) -> None:
    well = memory.look(ops_settings(health_memory_percent=100))
    full = memory.look(ops_settings(health_memory_percent=0))

    assert well.status is Status.GOOD
    assert 0 < float(well.figures["used_percent"]) < 100
    assert full.status is Status.BAD
    assert full.next.startswith("docker stats")


@pytest.mark.parametrize("content", ["", "nonsense", "MemTotal: many kB\n"])
def test_memory_that_the_kernel_does_not_tell_is_not_measured(
    ops_settings: OpsSettingsFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
) -> None:
    (tmp_path / "meminfo").write_text(content)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")

    assert memory.look(ops_settings()).status is Status.UNKNOWN


def test_a_kernel_without_pressure_figures_is_measured_all_the_same(
    ops_settings: OpsSettingsFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "PRESSURE", tmp_path / "no")

    result = memory.look(ops_settings(health_memory_percent=100))

    assert result.status is Status.GOOD
    assert "stalled_percent" not in result.figures


def test_the_kernel_is_asked_about_the_clock_without_any_right(
    ops_settings: OpsSettingsFactory,
) -> None:
    """Whether a time service runs where the tests do is not theirs to say."""
    result = clock.look(ops_settings(health_clock_seconds=1000))

    assert result.status in (Status.GOOD, Status.UNKNOWN)
    assert "Operation not permitted" not in result.summary


@pytest.mark.parametrize(
    ("status", "maxerror", "expected"),
    [
        (0x2001, 20_000, Status.GOOD),
        (0x2001, 5_000_001, Status.BAD),
        (clock.STA_UNSYNC, 16_000_000, Status.UNKNOWN),
    ],
)
def test_a_clock_that_was_not_set_for_long_is_bad_and_one_that_nobody_sets_is_not_measured(
    ops_settings: OpsSettingsFactory, status: int, maxerror: int, expected: Status
) -> None:
    assert clock.judge(status, maxerror, ops_settings()).status is expected


class _Handler(SimpleXMLRPCRequestHandler):
    disable_nagle_algorithm = False  # Not for unix sockets.


class _Supervisor(socketserver.ThreadingUnixStreamServer, SimpleXMLRPCDispatcher):
    """Answers as supervisor documents it: http://supervisord.org/api.html"""

    daemon_threads = True
    logRequests = False  # noqa: N815

    def __init__(self, path: Path, programs: object) -> None:
        SimpleXMLRPCDispatcher.__init__(self, allow_none=True)
        super().__init__(str(path), _Handler)
        self.register_function(lambda: programs, "supervisor.getAllProcessInfo")


def program(name: str, state: str, **more: Any) -> dict[str, Any]:
    known = {
        "name": name,
        "group": name,
        "statename": state,
        "state": 20,
        "spawnerr": "",
        "exitstatus": 0,
        "description": "",
        "logfile": f"/var/log/supervisor/{name}.log",
        "pid": 1,
    }
    return {**known, **more}


Serve = Callable[[object], Path]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers = []

    def start(programs: object) -> Path:
        path = tmp_path / "supervisor.sock"
        server = _Supervisor(path, programs)
        servers.append(server)
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return path

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_without_supervisor_there_is_nothing_to_look_at(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    result = supervisor.look(ops_settings(supervisor_socket=tmp_path / "no.sock"))

    assert result.status is Status.GOOD
    assert "not used" in result.summary


def test_programs_that_run_were_stopped_or_ended_as_they_may_are_good(
    ops_settings: OpsSettingsFactory, serve: Serve
) -> None:
    path = serve(
        [program("dockerd", "RUNNING"), program("once", "EXITED"), program("off", "STOPPED")]
    )

    result = supervisor.look(ops_settings(supervisor_socket=path))

    assert result.status is Status.GOOD
    assert result.figures == {"programs": 3}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (program("stack", "FATAL", spawnerr="can't find command"), "FATAL (can't find command)"),
        (program("stack", "BACKOFF", description="too quickly"), "BACKOFF (too quickly)"),
        (program("stack", "EXITED", exitstatus=3), "EXITED with exit code 3"),
    ],
)
def test_a_program_in_trouble_is_named_with_where_it_says_why(
    ops_settings: OpsSettingsFactory, serve: Serve, wrong: dict[str, Any], said: str
) -> None:
    path = serve([program("dockerd", "RUNNING"), wrong])

    result = supervisor.look(ops_settings(supervisor_socket=path))

    assert result.status is Status.BAD
    assert result.summary == f"stack is {said}."
    assert result.next.startswith("sudo supervisorctl tail stack ")


def test_a_program_of_a_group_is_named_as_supervisorctl_wants_it(
    ops_settings: OpsSettingsFactory, serve: Serve
) -> None:
    path = serve([program("web_1", "FATAL", group="web")])

    assert "tail web:web_1" in supervisor.look(ops_settings(supervisor_socket=path)).next


@pytest.mark.parametrize("answer", ["nonsense", 7, [1, 2], [{"name": "x"}], None])
def test_an_answer_that_is_not_supervisors_is_bad(
    ops_settings: OpsSettingsFactory, serve: Serve, answer: object
) -> None:
    result = supervisor.look(ops_settings(supervisor_socket=serve(answer)))

    assert result.status is Status.BAD
    assert "does not answer as it should" in result.summary


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<not>",
        b"HTTP/1.1 500 no\r\nContent-Length: 0\r\n\r\n",
        b"",
    ],
)
def test_what_is_no_supervisor_at_all_is_bad(
    ops_settings: OpsSettingsFactory, tmp_path: Path, answer: bytes
) -> None:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            self.request.sendall(answer)

    path = tmp_path / "s.sock"
    with socketserver.UnixStreamServer(str(path), Handler) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        result = supervisor.look(ops_settings(supervisor_socket=path))
        server.shutdown()

    assert result.status is Status.BAD


def test_a_socket_that_nobody_listens_on_any_more_is_bad(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))

    result = supervisor.look(ops_settings(supervisor_socket=path))

    assert result.status is Status.BAD
    assert "Connection refused" in result.summary


def test_a_supervisor_that_hangs_is_given_up_in_time(
    ops_settings: OpsSettingsFactory, tmp_path: Path
) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        result = supervisor.look(ops_settings(supervisor_socket=path))

    assert result.status is Status.BAD
    assert "timed out" in result.summary


def test_a_socket_that_lets_only_root_in_is_not_measured(
    ops_settings: OpsSettingsFactory, serve: Serve
) -> None:
    path = serve([])
    path.chmod(0)

    result = as_nobody(lambda: supervisor.look(ops_settings(supervisor_socket=path)), path.parent)

    assert result.status is Status.UNKNOWN
    assert "does not let this user in" in result.summary


def test_a_docker_socket_that_does_not_let_us_in_is_said(
    ops_settings: OpsSettingsFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
    with socket.socket(socket.AF_UNIX) as docker:
        docker.bind(f"{tmp_path}/docker.sock")
        docker.listen()
        (tmp_path / "docker.sock").chmod(0)
        result = as_nobody(lambda: engine.look(ops_settings()), tmp_path)

    assert result.status is Status.BAD
    assert result.summary == "Docker's socket does not let this user in."
    assert "--groups docker" in result.next


def as_nobody(look: Callable[[], Any], directory: Path) -> Any:
    """Root may do everything: as another user, where the tests run as root."""
    if os.geteuid() != 0:
        return look()
    for above in (directory, *directory.parents):
        if above.stat().st_uid == 0 and above != Path("/"):
            above.chmod(above.stat().st_mode | 0o755)
    os.seteuid(65534)
    try:
        return look()
    finally:
        os.seteuid(0)
