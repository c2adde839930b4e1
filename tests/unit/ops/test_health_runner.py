"""Checks side by side: none hangs or crashes the others."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from apps.ops.conf import OpsSettings
from apps.ops.deadlines import side_by_side
from apps.ops.errors import OpsError
from apps.ops.health import registry, rounds, runner
from apps.ops.health.result import HealthCheck, Result, Status, bad, good, unknown
from apps.ops.health.runner import MAX_TEXT, Finding, exit_code, run
from apps.ops.health.starving import Starvation
from apps.ops.health.state import Known
from apps.ops.presenters.health import finding_lines, findings_as_json

if TYPE_CHECKING:
    from tests.conftest import OpsSettingsFactory

HUNG_SECONDS = 20.0


def fine(settings: OpsSettings) -> Result:
    return good("Fine.")


def check(look: Any, **more: Any) -> HealthCheck:
    return HealthCheck(getattr(look, "__name__", "one"), look, **more)


def found(look: Any, settings: OpsSettings) -> Result:
    (finding,) = run([check(look)], settings)
    return finding.result


@pytest.fixture
def silent_address() -> Iterator[tuple[str, int]]:
    """It takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()


def test_a_check_that_hangs_is_left_alone_at_its_deadline(
    ops_settings: OpsSettingsFactory, silent_address: tuple[str, int]
) -> None:
    def hangs(settings: OpsSettings) -> Result:
        with socket.create_connection(silent_address) as connection:
            connection.recv(1)
        return good("It spoke.")

    begun = monotonic()
    findings = run(
        [
            check(hangs, hung=Status.BAD, next="docker compose restart it"),
            check(fine),
            check(hangs),
        ],
        ops_settings(health_seconds=0.2),
    )

    assert monotonic() - begun < HUNG_SECONDS
    assert [f.result.status for f in findings] == ["bad", "good", "unknown"]
    assert findings[0].result.summary == "It did not answer within 0.2 s."
    assert findings[0].result.next == "docker compose restart it"
    assert findings[0].seconds >= 0.2 > findings[1].seconds


@pytest.mark.parametrize(
    ("felt", "statuses"), [(True, ["unknown", "bad"]), (False, ["bad", "bad"])]
)
def test_what_did_not_answer_in_time_is_not_bad_on_a_busy_machine(
    ops_settings: OpsSettingsFactory,
    monkeypatch: pytest.MonkeyPatch,
    felt: bool,
    statuses: list[str],
) -> None:
    monkeypatch.setattr(runner, "TIME_OUT_SECONDS", 0.1)

    class Felt(Starvation):
        def is_felt(self) -> bool:
            return felt

    never = threading.Event()

    def hangs(settings: OpsSettings) -> Result:
        never.wait(HUNG_SECONDS)
        return good("It spoke.")

    def refuses(settings: OpsSettings) -> Result:
        return bad("Refused.", next="fix it")

    settings = ops_settings(health_seconds=0.2)
    checks = [check(hangs, hung=Status.BAD), check(refuses)]
    findings = run(checks, settings, starvation=Felt)
    never.set()

    assert [f.result.status for f in findings] == statuses
    # What stays like that for long counts.
    known = Known.new(datetime.now(UTC) - rounds.BUSY)
    known.see(unknown("Busy."), known.since)
    counts = rounds._as_it_counts(findings[0], known, datetime.now(UTC))
    assert counts.status is Status.BAD
    fresh = Known.new(datetime.now(UTC))
    counts = rounds._as_it_counts(findings[0], fresh, datetime.now(UTC))
    assert counts.status == statuses[0]


@pytest.mark.parametrize(("others", "felt"), [(0, False), (3, True)])
def test_a_process_that_waits_for_the_processor_knows(others: int, felt: bool) -> None:
    program = """
import os, signal, sys
from time import process_time, sleep
from apps.ops.health.starving import Starvation
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
others = int(sys.argv[1])
for _ in range(others):
    if not os.fork():
        while True: pass
starvation = Starvation()
try:
    if others:
        begun = process_time()
        while process_time() < begun + 0.6: pass
    else:
        sleep(0.1)
    print(starvation.is_felt())
finally:
    sys.stdout.flush()
    os.killpg(0, signal.SIGKILL)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(others)],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=HUNG_SECONDS,
        check=False,
        start_new_session=True,
    )
    assert done.stdout == f"{felt}\n", done.stderr


def test_checks_run_at_the_same_time(ops_settings: OpsSettingsFactory) -> None:
    together = threading.Barrier(20, timeout=HUNG_SECONDS)

    def meet(settings: OpsSettings) -> Result:
        together.wait()
        return good("All were there.")

    findings = run([check(meet)] * 20, ops_settings(health_seconds=HUNG_SECONDS))

    assert {f.result.status for f in findings} == {"good"}


def test_what_a_check_raises_counts_as_not_measured(ops_settings: OpsSettingsFactory) -> None:
    class Odd(BaseException):
        pass

    def away(settings: OpsSettings) -> Result:
        raise OpsError("Docker does not answer.", next="systemctl status docker")

    def broken(settings: OpsSettings) -> Result:
        raise ValueError("no such\nthing")

    def leaves(settings: OpsSettings) -> Result:
        sys.exit("bye")

    def odd(settings: OpsSettings) -> Result:
        raise Odd

    def late(settings: OpsSettings) -> Result:
        raise TimeoutError("timed out")

    findings = run([check(f) for f in (away, broken, leaves, odd, late, fine)], ops_settings())

    assert [f.result.status for f in findings] == ["unknown"] * 5 + ["good"]
    assert [f.result.summary for f in findings[:5]] == [
        "Docker does not answer.",
        "ValueError: no such",
        "SystemExit: bye",
        "Odd",
        "TimeoutError: timed out",
    ]
    assert findings[0].result.next == "systemctl status docker"


@pytest.mark.parametrize(
    "answer",
    [None, "good", True, Result("great", "x"), Result(Status.GOOD, "x", figures=None)],  # type: ignore[arg-type]
)
def test_an_answer_that_is_no_result_counts_as_not_measured(
    ops_settings: OpsSettingsFactory, answer: Any
) -> None:
    assert found(lambda settings: answer, ops_settings()).status == "unknown"


def test_what_a_check_says_can_be_stored_and_shown(
    ops_settings: OpsSettingsFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_API_TOKEN", "hunter2hunter2")

    def says(settings: OpsSettings) -> Result:
        summary = "a\x00b\n\x1b[31mred hunter2hunter2 " + "x" * 1000
        return bad(summary, next="psql postgres://site:pw@db/", share=float("nan"), n=1, f=0.5)

    result = found(says, ops_settings())

    assert result.summary.startswith("a b  [31mred ••• xxx")
    assert len(result.summary) == MAX_TEXT
    assert result.next == "psql postgres://•••@db/"
    assert result.figures == {"share": "nan", "n": 1, "f": 0.5}


def test_bad_wins_over_what_could_not_be_measured() -> None:
    good_, bad_, unknown_ = (
        Finding("one", result, 0.1) for result in (good("a"), bad("b", next="c"), unknown("d"))
    )

    assert exit_code([]) == exit_code([good_]) == 0
    assert exit_code([good_, unknown_, bad_]) == 1
    assert exit_code([good_, unknown_]) == 3


def test_jobs_have_deadlines_of_their_own(silent_address: tuple[str, int]) -> None:
    def hangs() -> str:
        with socket.create_connection(silent_address) as connection:
            return connection.recv(1).decode()

    now = monotonic()
    answers = side_by_side([hangs, lambda: "here"], until=[now + 0.1, now + HUNG_SECONDS])

    assert monotonic() - now < HUNG_SECONDS, "the short deadline counts once the rest is done"
    assert isinstance(answers[0], TimeoutError)
    assert answers[1] == "here"


A_CHECK = HealthCheck("shop-orders", fine)
no_check = 5


def test_a_setting_adds_checks_of_ones_own(ops_settings: OpsSettingsFactory) -> None:
    ops = ops_settings(health_checks=(f"{__name__}.A_CHECK", f"{__name__}.fine"))

    names = [c.name for c in registry.configured(ops)]
    findings = run(registry.choose(["fine", "shop-orders"], ops), ops)

    assert names[-2:] == ["shop-orders", "fine"]
    assert [f.result.status for f in findings] == ["good", "good"]


def disk(settings: OpsSettings) -> Result:
    return good("Not the disk you mean.")


def test_a_name_that_is_taken_does_not_hide_the_check_that_has_it(
    ops_settings: OpsSettingsFactory,
) -> None:
    names = [c.name for c in registry.configured(ops_settings(health_checks=(f"{__name__}.disk",)))]

    assert {"disk", f"{__name__}.disk"} <= set(names)


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere.at.all", "nowhere.at.all cannot be loaded: ModuleNotFoundError"),
        ("nodots", "nodots cannot be loaded: ImportError"),
        (f"{__name__}.missing", "missing cannot be loaded: ImportError"),
        (f"{__name__}.no_check", "no_check is neither a HealthCheck nor a function."),
    ],
)
def test_a_path_that_leads_nowhere_is_a_finding(
    ops_settings: OpsSettingsFactory, path: str, why: str
) -> None:
    ops = ops_settings(health_checks=(path,))

    (finding,) = run(registry.choose([path], ops), ops)

    assert finding.result.status == "unknown"
    assert why in finding.result.summary
    assert "OPS_HEALTH_CHECKS" in finding.result.next


def test_a_module_that_hangs_while_it_is_loaded_holds_up_nobody(
    ops_settings: OpsSettingsFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hanging_checks.py").write_text("import threading\nthreading.Event().wait()\n")
    monkeypatch.syspath_prepend(tmp_path)
    path = "hanging_checks.look"
    ops = ops_settings(health_checks=(path, f"{__name__}.fine"), health_seconds=0.5)

    begun = monotonic()
    findings = run(registry.choose([path, "fine"], ops), ops)

    assert monotonic() - begun < HUNG_SECONDS
    assert [f.result.status for f in findings] == ["unknown", "good"]
    assert findings[0].result.summary == f"{path} cannot be loaded: it did not load in time."


def test_an_unknown_name_names_what_there_is(ops_settings: OpsSettingsFactory) -> None:
    with pytest.raises(registry.NoSuchCheck) as caught:
        registry.choose(["postgers"], ops_settings())

    said = str(caught.value)
    assert 'There is no check "postgers". Did you mean postgres?' in said
    assert "service-django-a" in said


def test_a_pipe_gets_a_plain_line_a_check() -> None:
    findings = [
        Finding("disk", good("Half full.", percent=50), 0.01),
        Finding("workers", bad("Nobody works.", next="manage.py canary"), 2.5),
        Finding("clock", unknown("Who knows?"), 0.0),
    ]

    assert list(finding_lines(findings)) == [
        "disk     ✓ good      0.01 s  Half full.",
        "workers  ✗ bad       2.50 s  Nobody works.  Next: manage.py canary",
        "clock    ? unknown   0.00 s  Who knows?",
        "1 of 3 checks are good, 1 is bad, 1 could not be measured.",
    ]
    assert findings_as_json(findings, 1)["checks"][0] == {
        "name": "disk",
        "status": "good",
        "seconds": 0.01,
        "summary": "Half full.",
        "next": "",
        "figures": {"percent": 50},
    }
