from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from apps.ops.processes import MAX_OUTPUT, TAIL_LINES, ProgramFailed, run
from tests.servers import HUNG_SECONDS, wait_until

DEADLINE = 0.5


def sh(script: str, *, seconds: float = HUNG_SECONDS, say: Callable[[str], None] = print) -> str:
    return run(["sh", "-c", script], seconds=seconds, say=say)


def fails(script: str, *, seconds: float = HUNG_SECONDS) -> ProgramFailed:
    with pytest.raises(ProgramFailed) as caught:
        run(["sh", "-c", script], seconds=seconds, grace_seconds=0.5)
    return caught.value


def is_gone(pid_file: Path) -> bool:
    pid = int(pid_file.read_text())
    try:
        # A zombie is gone: whoever inherited it has not looked yet.
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return True


def test_its_output_is_returned_and_said_line_by_line() -> None:
    said: list[str] = []

    assert sh("echo one; echo two", say=said.append) == "one\ntwo"
    assert said == ["one", "two"]


def test_a_line_is_said_as_soon_as_it_is_written(tmp_path: Path) -> None:
    def answer(line: str) -> None:
        (tmp_path / "heard").touch()

    sh(f"echo ready; until [ -e {tmp_path}/heard ]; do :; done", say=answer)


def test_standard_error_is_part_of_the_output() -> None:
    assert sh("echo out; echo err >&2") == "out\nerr"


def test_standard_output_can_be_data_and_standard_error_what_is_said() -> None:
    said: list[str] = []
    script = "echo out; echo err >&2"

    output = run(["sh", "-c", script], seconds=HUNG_SECONDS, say=said.append, merge_stderr=False)

    assert output == "out"
    assert said == ["err"]


def test_a_last_line_without_an_end_counts() -> None:
    assert sh("printf one; printf two") == "onetwo"


def test_of_a_progress_bar_stays_what_it_says_in_the_end() -> None:
    said: list[str] = []

    sh(r"printf '10%%\r50%%\r100%%\r\n\033[1mdone\033[0m\r\n'", say=said.append)

    assert said == ["100%", "done"]


def test_bytes_that_are_no_text_do_no_harm() -> None:
    assert sh(r"printf 'caf\351\n'") == "caf\ufffd"


def test_it_reads_what_it_is_given(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"given")
    with (tmp_path / "in").open("rb") as file:
        assert run(["cat"], seconds=HUNG_SECONDS, stdin=file) == "given"


def test_it_reads_nothing_of_ours() -> None:
    assert run(["cat"], seconds=HUNG_SECONDS) == ""


def test_it_runs_where_and_with_what_it_is_told(tmp_path: Path) -> None:
    output = run(
        ["sh", "-c", "pwd; echo $NEW $HOME"],
        seconds=HUNG_SECONDS,
        cwd=tmp_path,
        env={"NEW": "there"},
    )

    assert output == f"{tmp_path}\nthere {os.environ.get('HOME', '')}".rstrip()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")
def test_it_runs_as_whom_it_is_told() -> None:
    assert run(["id"], seconds=HUNG_SECONDS, owner=(65534, 65534)).startswith("uid=65534")


def test_ctrl_c_at_our_terminal_does_not_reach_it() -> None:
    output = run([sys.executable, "-c", "import os; print(os.getsid(0))"], seconds=HUNG_SECONDS)

    assert int(output) != os.getsid(0)


def test_an_exit_code_is_an_error_with_the_last_lines() -> None:
    error = fails("seq 100; exit 7")

    assert error.found == "`sh -c seq 100; exit 7` ended with exit code 7."
    assert error.code == 7
    assert error.output.splitlines() == [str(n) for n in range(101 - TAIL_LINES, 101)]


def test_a_program_that_is_not_there_is_an_error_like_others() -> None:
    with pytest.raises(ProgramFailed, match=r"^no-such-program could not be started: ") as caught:
        run(["no-such-program"], seconds=HUNG_SECONDS)

    assert caught.value.code is None


def test_an_argument_that_no_program_can_be_given_is_an_error_like_others() -> None:
    with pytest.raises(ProgramFailed, match=r"^echo could not be started: "):
        run(["echo", "a\0b"], seconds=HUNG_SECONDS)


def test_a_long_command_is_shortened_in_the_error() -> None:
    error = fails(f"exit 1 # {'x' * 200}")

    assert len(error.found) < 140


def test_at_its_deadline_it_is_ended() -> None:
    error = fails("echo begun; sleep 600", seconds=DEADLINE)

    assert error.found == "`sh -c echo begun; sleep 600` did not end within 0.5 s and was ended."
    assert error.code is None
    assert error.output == "begun"


def test_at_its_deadline_its_children_are_ended_with_it(tmp_path: Path) -> None:
    fails(f"sleep 600 & echo $! >{tmp_path}/pid; wait", seconds=DEADLINE)

    wait_until(lambda: is_gone(tmp_path / "pid"))


def test_a_grandchild_that_ignores_the_signal_is_ended_too(tmp_path: Path) -> None:
    stubborn = f"trap '' TERM; echo $$ >{tmp_path}/pid; while :; do sleep 1; done"

    fails(f"""sh -c "{stubborn.replace("$", chr(92) + "$")}" & wait""", seconds=DEADLINE)

    wait_until(lambda: is_gone(tmp_path / "pid"))


def test_a_child_that_outlives_the_program_and_keeps_its_output_open_is_ended(
    tmp_path: Path,
) -> None:
    fails(f"sleep 600 & echo $! >{tmp_path}/pid", seconds=DEADLINE)

    wait_until(lambda: is_gone(tmp_path / "pid"))


def test_a_program_that_ignores_being_asked_to_end_is_killed(tmp_path: Path) -> None:
    fails(f"echo $$ >{tmp_path}/pid; trap '' TERM; while :; do sleep 1; done", seconds=DEADLINE)

    assert is_gone(tmp_path / "pid")


@pytest.mark.timeout(HUNG_SECONDS)
def test_a_program_that_never_stops_talking_has_a_deadline_too() -> None:
    def listen(line: str) -> None:
        sum(range(500))  # A little slower than it talks, as a terminal is.

    with pytest.raises(ProgramFailed, match=r"did not end within 0\.5 s"):
        run(["yes"], seconds=DEADLINE, say=listen)


def test_a_program_that_closed_its_output_has_a_deadline_too() -> None:
    error = fails("exec >&- 2>&-; sleep 600", seconds=DEADLINE)

    assert "did not end within 0.5 s" in error.found


@pytest.mark.parametrize("seconds", [1, pytest.param(11, marks=pytest.mark.more)])
def test_a_program_that_closed_its_output_may_use_its_time(seconds: int) -> None:
    assert sh(f"exec >&- 2>&-; sleep {seconds}; exit 0") == ""


def test_an_error_in_the_listener_ends_the_program(tmp_path: Path) -> None:
    def refuse(line: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        sh(f"echo $$ >{tmp_path}/pid; echo line; sleep 600", say=refuse)

    assert is_gone(tmp_path / "pid")


def test_of_huge_output_the_beginning_is_returned_and_every_line_said() -> None:
    said = 0

    def count(line: str) -> None:
        nonlocal said
        said += 1

    output = sh("seq 200000", say=count)

    assert said == 200_000
    assert output.startswith("1\n2\n3\n")
    assert MAX_OUTPUT * 0.9 < len(output.replace("\n", "")) <= MAX_OUTPUT


def test_of_huge_output_the_error_shows_the_last_lines() -> None:
    error = fails("seq 200000; echo no space left on device; exit 1")

    assert error.output.splitlines()[-2:] == ["200000", "no space left on device"]
