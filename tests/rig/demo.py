"""`just demo`: deploy this commit, change something visible, and deploy again under traffic."""

from __future__ import annotations

import secrets
from pathlib import Path
from time import sleep, time

from tests.rig.load import visitors
from tests.rig.report import Ledger, Swap, describe
from tests.rig.stack import Result, ScratchStack, is_free, project_of

RATE = 100.0
WARM_UP_SECONDS = 3.0
STEADY_SECONDS = 10.0
AFTER_SECONDS = 3.0
SETTLE_SECONDS = 2.0


def demo(source: Path, root: Path, port: int) -> int:
    stack = ScratchStack(
        root,
        project=project_of("changeover-demo", root),
        port=port,
        settings={"OPS_SMOKE_PATHS": "/,/about/", "OPS_BAKE_SECONDS": "10"},
    )
    if root.exists():
        _say("Removing the demo that is still there.")
        stack.destroy()
    _say(f"A production stack of its own on {stack.url}; its files are in {root.name}/.")
    if not is_free(port):
        raise SystemExit(f"Port {port} is taken on this machine. Next: just demo {port + 1}")
    stack.create(source)

    _say("Building the utility image, which deploys the others: docker compose build utility")
    stack.compose("build", "utility", seconds=1800)

    _say("First deployment, on an empty database: manage.py deploy")
    _show(stack.deploy())
    password = secrets.token_urlsafe(12)
    stack.manage(
        *("createsuperuser", "--noinput", "--username", "admin", "--email", "admin@example.org"),
        options=("-e", f"DJANGO_SUPERUSER_PASSWORD={password}"),
    )

    _say("A visible change is pushed to the remote's main branch.")
    stack.commit("Greet everybody in another colour", _change)
    _say(f"{RATE:g} requests a second arrive: GET, POST, kept alive and not, and some of 2 s.")
    with visitors(port, rate=RATE) as traffic:
        sleep(WARM_UP_SECONDS)
        begun = time()
        sleep(STEADY_SECONDS)
        _say("Second deployment, under that traffic: manage.py deploy")
        result = stack.deploy()
        sleep(AFTER_SECONDS)
    _show(result)
    swap = Swap.of(result, traffic, settle=SETTLE_SECONDS)
    ledger = Ledger.of(stack, traffic)

    print()
    steady = traffic.during(begun, begun + STEADY_SECONDS)
    print(describe(traffic, ledger, steady, [swap]))
    print(
        f"swap             {swap.switched * 1000:.0f} ms after the rename nobody got the old "
        f"release any more;\n                 it was drained in {swap.drain:.1f} s"
    )
    print()
    print(stack.manage("status").output)
    print(f"The site    {stack.url}/")
    print(f"The history {stack.url}/admin/ops/deployment/   (admin / {password})")
    print("Remove it   just demo-down")
    bad = len(traffic.failed) + ledger.lost + ledger.doubled + ledger.tasks_lost
    return 1 if bad else 0


def demo_down(root: Path) -> int:
    ScratchStack(root, project=project_of("changeover-demo", root), port=0, settings={}).destroy()
    _say("The demo is gone: its containers, volumes, network, images and files.")
    return 0


def _change(project: Path) -> None:
    styles = project / "apps/home/static/home/site.css"
    styles.write_text(styles.read_text() + "\nh1 { color: rebeccapurple; }\n")
    page = project / "apps/home/templates/home/index.html"
    page.write_text(page.read_text().replace("</h1>", ", once more</h1>", 1))


def _show(result: Result) -> None:
    for event in result.events:
        if event["event"] == "step_succeeded":
            step, took = event["step"], event["seconds"]
            print(f"    {step:<10} {event['summary']} ({took:.1f} s)", flush=True)
    if result.code not in (0, 6):
        ended = [e for e in result.events if e["event"] == "ended"]
        error = ended[0]["error"] if ended else {"found": result.errors or result.output}
        raise SystemExit("\n".join(str(part) for part in error.values() if part))


def _say(text: str) -> None:
    print(f"• {text}", flush=True)
