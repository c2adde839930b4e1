"""The machine's memory: how much could still be had, and how long programs wait for some."""

from __future__ import annotations

from pathlib import Path

from apps.ops.conf import OpsSettings
from apps.ops.health.result import Figure, Result, bad, good, unknown

NEXT = "docker stats --no-stream   # who has it"
MEMINFO = Path("/proc/meminfo")
PRESSURE = Path("/proc/pressure/memory")


def look(settings: OpsSettings) -> Result:
    try:
        lines = MEMINFO.read_text().splitlines()
        kb = {
            name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines)
        }
        total, available = kb["MemTotal"], kb["MemAvailable"]
    except (OSError, ValueError, KeyError, IndexError) as error:
        return unknown(
            f"{MEMINFO} does not tell ({type(error).__name__}: {error}).", next="free -m"
        )
    percent = 100 * (1 - available / total)
    figures: dict[str, Figure] = {
        "used_percent": round(percent, 1),
        "available_mb": round(available * 1024 / 1e6),
        "total_mb": round(total * 1024 / 1e6),
        "swap_used_mb": round((kb.get("SwapTotal", 0) - kb.get("SwapFree", 0)) * 1024 / 1e6),
    }
    if (stalled := _stalled()) is not None:
        figures["stalled_percent"] = stalled
    said = f"{percent:.0f} % of {total * 1024 / 1e9:.1f} GB are used"
    if percent >= settings.health_memory_percent:
        return bad(f"{said}.", next=NEXT, **figures)
    return good(f"{said}.", **figures)


def _stalled() -> float | None:
    """For how much of the last minute all that wanted to run waited for memory, in per cent.

    None where the kernel does not say: https://docs.kernel.org/accounting/psi.html
    """
    try:
        full = PRESSURE.read_text().splitlines()[1]
        return float(full.split("avg60=")[1].split()[0])
    except (OSError, IndexError, ValueError):
        return None
