"""What `just` runs in the test image beside the tests: each builds a stack of its own."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.rig.bench import bench
from tests.rig.chaos import chaos
from tests.rig.compare import compare
from tests.rig.cuts import cuts
from tests.rig.demo import demo, demo_down


def main() -> int:
    parser = argparse.ArgumentParser(prog="rig")
    parser.add_argument("what", choices=("demo", "demo-down", "bench", "compare", "chaos", "cuts"))
    parser.add_argument("--source", type=Path, required=True, help="the project's repository")
    parser.add_argument("--root", type=Path, required=True, help="where the scratch state lies")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--swaps", type=int, default=20)
    parser.add_argument("--rate", type=float, default=200.0, help="requests a second")
    parser.add_argument("--settle", type=float, default=2.0, help="OPS_SETTLE_SECONDS")
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument(
        "--seed", type=int, help="of chaos and cuts; default: another one each time"
    )
    asked = parser.parse_args()
    match asked.what:
        case "demo":
            return demo(asked.source, asked.root, asked.port)
        case "demo-down":
            return demo_down(asked.root)
        case "compare":
            return compare(
                asked.source, asked.root, asked.port, rounds=asked.rounds, rate=asked.rate
            )
        case "chaos":
            return chaos(
                asked.source,
                asked.root,
                asked.port,
                kills=asked.kills,
                rate=asked.rate,
                seed=asked.seed,
            )
        case "cuts":
            return cuts(
                asked.source,
                asked.root,
                asked.port,
                rounds=asked.rounds,
                rate=asked.rate,
                seed=asked.seed,
            )
        case _:
            return bench(
                asked.source,
                asked.root,
                asked.port,
                swaps=asked.swaps,
                rate=asked.rate,
                settle=asked.settle,
            )


sys.exit(main())
