"""One deployment over a link that is cut, under traffic: what is done to it, and what must hold."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from threading import Timer
from time import monotonic, sleep
from typing import Any

from apps.ops.remote.failures import SSH_EXIT_CODE
from tests.rig.laptop import ATTENTIVE_SECONDS, Client, Laptop
from tests.rig.load import Traffic, visitors
from tests.rig.stack import ScratchStack
from tests.rig.witness import Witness, difference, shown_as, without_clocks

# Deadlines that mean "hung"; the second is what was promised, with something for the machine.
HUNG_SECONDS = 300.0
FOUND_SECONDS = 30.0
SLACK_SECONDS = 10.0
# Who kills a client while it starts something waits so long before that counts as never begun.
BEGIN_SECONDS = 15.0
TYPING_SECONDS = 0.5

CLOSED, RESET, SILENT, KILLED = "closed", "reset", "silent", "killed"
GOOD, BROKEN, CANCELLED = "good", "broken", "cancelled"
ENDINGS = {
    GOOD: {("succeeded", 0)},
    BROKEN: {("failed", 1)},
    # After the swap it is too late to cancel it.
    CANCELLED: {("interrupted", 130), ("succeeded", 0)},
}
NEVER = "never begun"


@dataclass(frozen=True, slots=True)
class Cut:
    """What happens to the link, or to the client, and when.

    Args:
        seconds: after the command was typed.
        step: and not before it has shown that this one began, however slow the machine is.
    """

    seconds: float
    how: str
    step: str = ""

    def is_due(self, begun: float, client: Client) -> bool:
        if monotonic() < begun + self.seconds:
            return False
        shown = (f'"step": "{self.step}"', f" {self.step} …")
        return not self.step or any(words.encode() in client.out for words in shown)


@dataclass(frozen=True, slots=True)
class Plan:
    """Args:
    kind: how it is to end.
    as_json: asked for with `--format json`; else it is shown as plain lines.
    cancelled: seconds after the command was typed.
    """

    kind: str
    as_json: bool = True
    cuts: Sequence[Cut] = ()
    cancelled: float | None = None


@dataclass(slots=True)
class Row:
    """What became of it. `lost` are sentences: none means that nothing was.

    `made` are the cuts that came before its end; `found` the seconds that each silence lasted until
    the client knew of it; `first` those from the command to the first line of the output, where no
    cut came before; `seconds` those to the deployment's end; `live` is the release that had the
    traffic afterwards; `left` says that its container waits for somebody to see its end.
    """

    plan: Plan
    traffic: Traffic = field(default_factory=Traffic)
    made: list[str] = field(default_factory=list)
    found: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    status: str = NEVER
    code: int | None = None
    lines: int = 0
    first: float | None = None
    live: str = ""
    left: bool = False
    seconds: float = 0.0

    @property
    def counts(self) -> bool:
        """There was a deployment, and it was cut off."""
        return self.status != NEVER and bool(self.made)


def cut_round(stack: ScratchStack, laptop: Laptop, plan: Plan, ref: str, *, rate: float) -> Row:
    """Deploy `ref` over a link that is cut, and check all that can be checked afterwards.

    Args:
        rate: visitors' requests a second.
    """
    before, row = stack.status(), Row(plan)
    with visitors(stack.port, rate=rate, slow_rate=0.5) as row.traffic:
        witness = Witness(stack.site)
        first = laptop.begin("deploy", ref, *(("--format", "json") if plan.as_json else ()))
        cancel = Timer(plan.cancelled or 0.0, stack.manage, ["cancel"])
        if plan.cancelled is not None:
            cancel.start()
        clients = _cut(laptop, witness, first, row)
        row.code = clients[-1].wait(HUNG_SECONDS)
        witness.finish(HUNG_SECONDS)
        if (came := first.first_after) and all(came < cut.seconds for cut in plan.cuts):
            row.first = came
        row.seconds = max(witness.ended - first.begun, 0.0)
        if cancel.ident:
            cancel.join(HUNG_SECONDS)
        after = stack.status()
        row.live = after["front_door"]["release"]
        if witness.name:
            _check_output(row, witness, clients)
            _check_server(row, witness, stack, before, after)
        else:
            _check_never_begun(row, before, after)
    row.lost += [f"failed request: {request.error}" for request in row.traffic.failed]
    return row


def _cut(laptop: Laptop, witness: Witness, client: Client, row: Row) -> list[Client]:
    """Do what the plan says; the clients, of which all but the last were killed."""
    clients = [client]
    start = client.begun
    for cut in row.plan.cuts:
        while not cut.is_due(start, client) and not client.ended:
            sleep(ATTENTIVE_SECONDS)
        if client.ended:
            break
        row.made.append(cut.how)
        match cut.how:
            case "closed":
                laptop.relay.cut()
            case "reset":
                laptop.relay.reset()
            case "silent":
                _fall_silent(laptop, client, row)
            case _:
                client.kill()
                # The next command takes a moment to type, and there must be something to attach to.
                sleep(TYPING_SECONDS)
                if not (witness.wait_for_name(BEGIN_SECONDS) and witness.is_there):
                    break
                client = laptop.begin("attach", witness.name)
                clients.append(client)
    return clients


def _fall_silent(laptop: Laptop, client: Client, row: Row) -> None:
    """Until the client knows. Where it is making a new link, it first has one."""
    while not (client.is_connected or client.ended):
        sleep(ATTENTIVE_SECONDS)
    before = client.losses
    laptop.relay.fall_silent()
    seconds = client.wait_until_lost(before=before, seconds=FOUND_SECONDS + SLACK_SECONDS)
    laptop.relay.speak_again()
    if seconds is not None:
        row.found.append(seconds)
    elif not client.ended:
        row.lost.append(f"a silent link was not found out within {FOUND_SECONDS:g} s")


def _check_output(row: Row, witness: Witness, clients: Sequence[Client]) -> None:
    said = shown_as(witness.out, as_json=row.plan.as_json)
    row.lines = len(said)
    *killed, last = [one.out.decode().splitlines() for one in clients]
    if not row.plan.as_json:
        *killed, last = [without_clocks(lines) for lines in (*killed, last)]
    if wrong := difference(said, last):
        row.lost.append(wrong)
    for lines in killed:
        if wrong := difference(said[: len(lines)], lines):
            row.lost.append(f"before it was killed: {wrong}")
    errors = witness.err.splitlines()
    theirs = [line for line in clients[-1].err.splitlines() if line in set(errors)]
    if theirs != errors:
        row.lost.append(f"{len(errors)} lines on standard error came as {len(theirs)}")
    row.lost += _wrong_events([json.loads(line) for line in witness.out.splitlines()])


def _wrong_events(events: Sequence[dict[str, Any]]) -> list[str]:
    """A whole story: each step that began has one end, and time goes on."""
    names = [event["event"] for event in events] or ["nothing"]
    wrong = []
    if names[0] != "started" or names[-1] != "ended" or names.count("ended") != 1:
        wrong.append(f"the story goes from {names[0]} to {names[-1]}")
    times = [event["time"] for event in events]
    if times != sorted(times):
        wrong.append("the events are out of order")
    begun = [event["step"] for event in events if event["event"] == "step_started"]
    ended = [e["step"] for e in events if e["event"] in ("step_succeeded", "step_failed")]
    if begun != ended:
        wrong.append(f"steps {begun} began, and {ended} ended")
    return wrong


def _check_server(
    row: Row,
    witness: Witness,
    stack: ScratchStack,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> None:
    events = [json.loads(line) for line in witness.out.splitlines()]
    ended = events[-1] if events else {}
    if ended.get("event") != "ended":
        row.lost.append("it ended without a word")
        return
    row.status = ended["status"]
    number = ended["deployment"]
    said = stack.look("history", str(number), "--format", "json").output
    history = json.loads(said)
    if (history["status"], history["exit_code"]) != (ended["status"], ended["exit_code"]):
        row.lost.append(f"the history has {history['status']}, {history['exit_code']}")
    steps = [step["name"] for step in history["steps"]]
    if steps != [event["step"] for event in events if event["event"] == "step_started"]:
        row.lost.append(f"the history has the steps {steps}")
    if row.code not in (ended["exit_code"], -SIGKILL):
        row.lost.append(f"exit code {row.code}, and it ended with {ended['exit_code']}")
    if (ended["status"], ended["exit_code"]) not in ENDINGS[row.plan.kind]:
        row.lost.append(f"a {row.plan.kind} one has {ended['status']}, {ended['exit_code']}")
    is_new = ended["status"] == "succeeded"
    live = history["release"] if is_new else before["front_door"]["release"]
    if row.live != live:
        row.lost.append(f"{row.live} is live, not {live}")
    row.lost += [f"status: {problem}" for problem in after["problems"]]
    if after["deploying"] is not None:
        row.lost.append(f"the lock is held: {after['deploying']}")
    row.left = witness.remove()


def _check_never_begun(row: Row, before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Cut off before anything was begun: then it must not have been, and the client says so."""
    if [d["id"] for d in after["deployments"]] != [d["id"] for d in before["deployments"]]:
        row.lost.append("it was begun, and its container was not seen")
    if row.code not in (SSH_EXIT_CODE, -SIGKILL):
        row.lost.append(f"it was never begun, and the exit code is {row.code}")


def touch_site(project: Path) -> None:
    """A change that is quick to build."""
    page = project / "apps/home/templates/home/about.html"
    page.write_text(page.read_text() + f"{{# {secrets.token_hex(4)} #}}\n")


def break_site(project: Path) -> None:
    """Starts, and answers 500 when it is looked at."""
    urls = project / "apps/home/urls.py"
    urls.write_text(urls.read_text() + "\nurlpatterns = [path('', lambda request: 1 / 0)]\n")
