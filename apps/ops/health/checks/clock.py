"""The machine's clock: does a time service keep it right?"""

from __future__ import annotations

import ctypes
import os

from apps.ops.conf import OpsSettings
from apps.ops.health.result import Result, bad, good, unknown

NEXT = "timedatectl   # on the server; is systemd-timesyncd or chrony installed and running?"
# <linux/timex.h>: nobody has set the clock by another one lately.
STA_UNSYNC = 0x40


class _Timex(ctypes.Structure):
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),  # More than the kernel has, whatever its version.
    ]


def look(settings: OpsSettings) -> Result:
    """What the kernel knows from the time service. All clocks within reach are this one."""
    timex = _Timex()  # modes = 0: it is read and not set, which everybody may.
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(timex)) < 0:
        why = os.strerror(ctypes.get_errno())
        return unknown(f"The kernel does not tell about its clock ({why}).", next=NEXT)
    return judge(timex.status, timex.maxerror, settings)


def judge(status: int, maxerror: int, settings: OpsSettings) -> Result:
    """Args:
    maxerror: how wrong the clock can be, in microseconds; it grows until it is set again.
    """
    if status & STA_UNSYNC:
        return unknown(
            "No time service sets the clock: nobody knows whether it is right.", next=NEXT
        )
    seconds = maxerror / 1e6
    if seconds > settings.health_clock_seconds:
        return bad(
            f"The clock was last set so long ago that it can be wrong by {seconds:.1f} s.",
            next=NEXT,
            max_error_seconds=round(seconds, 3),
        )
    return good(
        f"A time service keeps the clock right, to {seconds:.3f} s at the worst.",
        max_error_seconds=round(seconds, 3),
    )
