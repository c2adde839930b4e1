"""What a channel has to be told: each change that has lasted, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from apps.ops.health.result import Status
from apps.ops.health.state import Known

# What comes and goes for so long is told, though no time that it is bad lasts.
FLAP = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class News:
    """A check that turned bad, or that is good again; `next` is what to type."""

    name: str
    status: str
    summary: str
    next: str
    since: datetime

    @property
    def line(self) -> str:
        if self.status == Status.GOOD:
            return f"good again: {self.name}, since {self.since:%Y-%m-%d %H:%M %Z}: {self.summary}"
        hint = f" Next: {self.next}" if self.next else ""
        return f"BAD: {self.name}, since {self.since:%Y-%m-%d %H:%M %Z}: {self.summary}{hint}"


def news_for(channel: str, known: Mapping[str, Known], *, after_seconds: float) -> list[News]:
    """What is new to the channel of this key; what is bad comes first.

    A change counts once it was seen for `after_seconds`, in both directions. A check that flaps is
    told once, and that it is good again once it is calm. That is told to who was told that it is
    bad.
    """
    after = timedelta(seconds=after_seconds)
    news = []
    for name, check in sorted(known.items()):
        lasted, flaps = check.lasted() >= after, check.flapped() >= max(FLAP, after)
        was_told_bad = check.told.get(channel) == Status.BAD
        is_bad = check.measured == Status.BAD
        counts = (lasted or flaps) if is_bad else (lasted and not flaps)
        if counts and check.status == check.measured and is_bad != was_told_bad:
            news.append(_flap(name, check) if flaps else _change(name, check))
    return sorted(news, key=lambda n: n.status != Status.BAD)


def _change(name: str, check: Known) -> News:
    return News(name, check.status, check.summary, check.next, check.measured_since)


def _flap(name: str, check: Known) -> News:
    return News(
        name, check.status, f"{check.summary} It comes and goes.", check.next, check.restless
    )


@dataclass(frozen=True, slots=True)
class Message:
    """Several changes at the same time, in one message."""

    site: str
    news: Sequence[News]

    @property
    def subject(self) -> str:
        parts = []
        for status, words in ((Status.BAD, "bad"), (Status.GOOD, "good again")):
            if names := [n.name for n in self.news if n.status == status]:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                parts.append(f"{words}: {', '.join(names[:5])}{more}")
        return f"[{self.site}] {'; '.join(parts)}"

    @property
    def text(self) -> str:
        return "\n".join(n.line for n in self.news)

    def as_json(self) -> dict[str, Any]:
        return {
            "site": self.site,
            "text": f"{self.subject}\n{self.text}",
            "checks": [
                {
                    "name": n.name,
                    "status": n.status,
                    "summary": n.summary,
                    "next": n.next,
                    "since": n.since.isoformat(),
                }
                for n in self.news
            ],
        }
