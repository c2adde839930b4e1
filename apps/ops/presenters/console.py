"""Live progress on a terminal: the steps with their times, and the last lines of what runs."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import TextIO

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table

from apps.ops.deploys.events import Listener, Outcome
from apps.ops.deploys.plan import Plan
from apps.ops.errors import OpsError
from apps.ops.presenters.logs import STYLES
from apps.ops.presenters.styled import Screen
from apps.ops.presenters.words import headline, plan_facts

TAIL_LINES = 6


class Terminal(Listener):
    def __init__(self, out: TextIO, *, color: bool = True, kind: str = "deploy") -> None:
        self._console = Screen(file=out, force_terminal=True, no_color=not color)
        self._doing = "Rolling back to" if kind == "rollback" else "Deploying"
        self._running = _Running(self._console)
        self._live = Live(
            self._running, console=self._console, refresh_per_second=10, transient=True
        )

    def started(self, deployment: int | None, ref: str) -> None:
        number = f" (deployment #{deployment})" if deployment else ""
        self._console.say("[bold]{} {}[/][dim]{}[/]", self._doing, ref, number)
        self._live.start()

    def planned(self, plan: Plan) -> None:
        for name, value in plan_facts(plan):
            self._console.say("    [dim]{}[/] {}", f"{name:<11}", value)

    def step_started(self, name: str, position: int) -> None:
        self._running.begin(name)

    def line(self, text: str) -> None:
        self._running.tail.append(STYLES.sub("", text))

    def noted(self, text: str) -> None:
        self._console.say("    [dim]{}[/]", text)

    def step_succeeded(self, name: str, summary: str, seconds: float) -> None:
        self._row("[green]✓[/]", name, summary, seconds)

    def step_failed(self, name: str, error: OpsError, seconds: float) -> None:
        self._row("[red]✗[/]", name, error.found, seconds)

    def step_undone(self, name: str) -> None:
        self._console.say("  [yellow]↶[/] {} [dim]undone[/]", f"{name:<10}")

    def warned(self, warning: str) -> None:
        self._console.say("  [yellow]! {}[/]", warning)

    def ended(self, outcome: Outcome) -> None:
        self._live.stop()
        color = {0: "green", 6: "yellow"}.get(outcome.exit_code, "red")
        if error := outcome.error:
            for line in error.output.split("\n") if error.output else ():
                self._console.say("[dim]  │ {}[/]", line)
            self._console.say("[bold]{}[/]", error.found)
            self._console.print(error.traffic)
            if error.next:
                self._console.say("[bold]Next:[/] {}", error.next)
        self._console.say(f"[bold {color}]{{}}[/]", headline(outcome))

    def _row(self, sign: str, name: str, summary: str, seconds: float) -> None:
        self._running.end()
        self._console.say(f"  {sign} {{}} {{}} [dim]{seconds:.1f} s[/]", f"{name:<10}", summary)


class _Running:
    """The step that runs: a spinner with its time, and what it last said."""

    def __init__(self, console: Screen) -> None:
        self._screen = console
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._name = ""
        self._begun = 0.0
        self._spinner = Spinner("dots")

    def begin(self, name: str) -> None:
        self._name, self._begun = name, monotonic()
        self.tail.clear()

    def end(self) -> None:
        self._name = ""
        self.tail.clear()

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if not self._name:
            return
        table = Table.grid(padding=(0, 1))
        elapsed = f"{monotonic() - self._begun:.0f} s"
        name = self._screen.styled("{} [dim]{}[/]", f"{self._name:<10}", elapsed)
        table.add_row(" ", self._spinner, name)
        yield table
        for line in list(self.tail):
            text = self._screen.styled("[dim]    │ {}[/]", line)
            text.no_wrap, text.overflow = True, "ellipsis"
            yield text
