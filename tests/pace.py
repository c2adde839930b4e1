"""What a run takes: what is left to `just test-all`, what begins first, and which files outgrew
their share of the time."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest
from django.conf import settings
from hypothesis import settings as hypothesis_settings

# Seconds of one test file. Beyond that the file is split, or what it waits for is made quicker: a
# file runs in one process, and the slowest one decides how long the run takes.
SHARES = {"e2e": 240.0, "integration": 40.0, "unit": 15.0}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--more",
        action="store_true",
        help="also what is only more of the same kind (marked `more`)",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "more: more of the same kind; a sibling in every run holds the promise"
    )
    config.addinivalue_line("markers", "slow: few tests that take long; their file begins early")
    hypothesis_settings.register_profile("some", max_examples=25, deadline=None, database=None)
    hypothesis_settings.register_profile("more", max_examples=300, deadline=None, database=None)
    hypothesis_settings.load_profile("more" if config.getoption("more") else "some")
    # A password is to be slow to try. Here it is made anew for each test that logs in.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(_Pace(), "pace")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes longest begins first: end-to-end tests, then what is marked `slow`, of these and
    the rest the files with the most tests."""
    if not config.getoption("more"):
        left_out = [item for item in items if item.get_closest_marker("more")]
        items[:] = [item for item in items if not item.get_closest_marker("more")]
        config.hook.pytest_deselected(items=left_out)
    tests = Counter(item.path for item in items)
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(
        key=lambda item: (
            _kind(item.nodeid) != "e2e",
            item.path not in slow,
            -tests[item.path],
            item.path,
        )
    )


class _Pace:
    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._seconds[report.nodeid.partition("::")[0]] += report.duration

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for path, seconds in sorted(self._seconds.items()):
            share = SHARES.get(_kind(path))
            if share and seconds > share:
                terminalreporter.write_line(
                    f"{path} took {seconds:.0f} s and its share is {share:g} s: split it, or make "
                    "it quicker"
                )


def _kind(nodeid: str) -> str:
    return nodeid.split("/")[1] if nodeid.startswith("tests/") else ""
