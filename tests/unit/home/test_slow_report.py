from __future__ import annotations

import time

import pytest
from django.test import Client


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize(
    ("query", "seconds"),
    [("", 2.0), ("?seconds=0", 0.0), ("?seconds=0.25", 0.25), ("?seconds=10", 10.0)],
)
def test_a_report_takes_the_time_that_is_asked_for(
    client: Client, slept: list[float], query: str, seconds: float
) -> None:
    response = client.get(f"/slow/{query}")

    assert response.status_code == 200
    assert response.content.decode() == f"This report took {seconds:g} seconds.\n"
    assert slept == [seconds]


@pytest.mark.parametrize("seconds", ["", "soon", "-0.1", "10.1", "nan", "inf"])
def test_a_time_that_makes_no_sense_is_refused_at_once(
    client: Client, slept: list[float], seconds: str
) -> None:
    response = client.get("/slow/", {"seconds": seconds})

    assert response.status_code == 400
    assert response.content == b"seconds must be a number from 0 to 10.\n"
    assert slept == []
