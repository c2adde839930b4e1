from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import pytest

from apps.ops.deploys.lock import FILE, Holding, deploy_lock, held_by, holder
from apps.ops.errors import Busy, OpsError

HOLD = """
import sys
from pathlib import Path
from apps.ops.deploys.lock import deploy_lock
with deploy_lock(Path(sys.argv[1]), holder="grace deploys main"):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another_process(state: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


HOLD_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from apps.ops.deploys.lock import deploy_lock, holder
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
with deploy_lock(Path(sys.argv[1]), holder="ada"):
    assert holder(Path(sys.argv[1])) == "unknown"
"""


def try_to_deploy(state: Path) -> None:
    with deploy_lock(state, holder="ada deploys main"):
        pass


def test_a_second_deployment_is_told_who_deploys(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path):
        with pytest.raises(Busy) as caught:
            try_to_deploy(tmp_path)

        assert caught.value.exit_code == 4
        assert caught.value.found.startswith(
            "Another deployment is running: grace deploys main, since "
        )
        assert (holder(tmp_path) or "").startswith("grace deploys main, since ")


def test_who_holds_it_says_where_it_can_be_found(tmp_path: Path) -> None:
    with deploy_lock(tmp_path, holder="ada", uid="20261123T120000-abcdef"):
        held = held_by(tmp_path)

    assert held is not None
    assert (held.uid, held.what) == ("20261123T120000-abcdef", "deployment")
    assert (held.container, held.pid) == (socket.gethostname(), os.getpid())
    assert held_by(tmp_path) is None


def test_a_shorter_name_leaves_nothing_of_a_longer_one(tmp_path: Path) -> None:
    with deploy_lock(tmp_path, holder="a" * 300):
        pass

    with deploy_lock(tmp_path, holder="ada"):
        assert (holder(tmp_path) or "").startswith("ada, since ")
        assert len((tmp_path / FILE).read_text().splitlines()) == 1


@pytest.mark.parametrize("before", ["", '{"holder": "grace"}'])
def test_a_disk_that_takes_no_name_does_not_keep_from_holding_the_lock(
    tmp_path: Path, before: str
) -> None:
    (tmp_path / FILE).write_text(before)

    done = subprocess.run(
        [sys.executable, "-c", HOLD_ON_A_FULL_DISK, str(tmp_path)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[3],
        timeout=30,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"holder": "ada"}', "\x00" * 10])
def test_of_a_record_that_cannot_be_read_nothing_is_known(tmp_path: Path, text: str) -> None:
    with deploy_lock(tmp_path, holder="ada"):
        (tmp_path / FILE).write_text(text)

        assert held_by(tmp_path) == Holding()
        assert holder(tmp_path) == "unknown"


def test_the_kernel_frees_the_lock_of_a_holder_that_was_killed(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()

        try_to_deploy(tmp_path)


def test_a_program_that_the_holder_started_does_not_keep_the_lock(tmp_path: Path) -> None:
    with deploy_lock(tmp_path, holder="ada"):
        child = subprocess.Popen(["sleep", "60"])
    try:
        try_to_deploy(tmp_path)
    finally:
        child.kill()
        child.wait()


def test_the_lock_is_free_after_a_deployment_that_failed(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), deploy_lock(tmp_path, holder="ada"):
        raise ZeroDivisionError

    assert holder(tmp_path) is None
    try_to_deploy(tmp_path)


def test_nobody_deploys_where_nobody_ever_did(tmp_path: Path) -> None:
    assert holder(tmp_path) is None
    assert not (tmp_path / FILE).exists()


def test_nobody_deploys_any_more(tmp_path: Path) -> None:
    try_to_deploy(tmp_path)

    assert holder(tmp_path) is None


def test_a_holder_whose_name_cannot_be_read_is_a_holder_all_the_same(tmp_path: Path) -> None:
    with deploy_lock(tmp_path, holder="ada"):
        (tmp_path / FILE).write_text("{")

        assert holder(tmp_path) == "unknown"
        with pytest.raises(Busy, match="did not say whose"):
            try_to_deploy(tmp_path)


def test_a_state_directory_that_cannot_be_written_is_said_and_not_raised(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")

    with pytest.raises(OpsError, match="The state directory cannot be written") as caught:
        try_to_deploy(tmp_path / "state" / "below")
    assert caught.value.exit_code == 1


@pytest.fixture
def in_background() -> Iterator[Callable[[Callable[[], object]], None]]:
    """Call something over and over in a thread, until the test has ended."""
    done, threads = Event(), list[Thread]()

    def start(act: Callable[[], object]) -> None:
        def run() -> None:
            while not done.wait(0.001):
                act()

        threads.append(Thread(target=run))
        threads[-1].start()

    yield start
    done.set()
    for thread in threads:
        thread.join()


def test_asking_who_deploys_never_makes_a_deployment_fail(
    tmp_path: Path, in_background: Callable[[Callable[[], object]], None]
) -> None:
    for _ in range(3):
        in_background(lambda: holder(tmp_path))

    for _ in range(200):
        try_to_deploy(tmp_path)


def test_the_lock_is_not_inherited(tmp_path: Path) -> None:
    with deploy_lock(tmp_path, holder="ada"):
        descriptors = [
            int(entry.name) for entry in Path("/proc/self/fd").iterdir() if target(entry) == FILE
        ]

        assert descriptors
        assert not any(os.get_inheritable(fd) for fd in descriptors)


def target(descriptor: Path) -> str:
    try:
        return descriptor.readlink().name
    except OSError:
        return ""
