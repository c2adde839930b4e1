"""apt-get on a machine that may have just booted and be at it itself."""

from __future__ import annotations

from collections.abc import Sequence

from apps.ops.errors import StepFailed
from apps.ops.provision.machine import Machine

SECONDS = 1200.0
# Debian's questions are not asked, and Ubuntu's needrestart restarts nothing by itself.
QUIET = {"DEBIAN_FRONTEND": "noninteractive", "NEEDRESTART_MODE": "l", "NEEDRESTART_SUSPEND": "1"}
# `update` does not wait for another apt-get's lock on the lists, whatever DPkg::Lock says.
_UPDATE = """\
for attempt in $(seq 60); do
    reply=$(apt-get update -q=2 -o APT::Update::Error-Mode=any 2>&1) && exit 0
    case $reply in
    *'Could not get lock'*) sleep 5 ;;
    *) break ;;
    esac
done
printf '%s\\n' "$reply" >&2
exit 1
"""
# What it writes is kept until its end: cut off from its reader, dpkg would stop half-way.
_INSTALL = """\
said=$(apt-get install -q=2 -y --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 \\
    -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold "$@" 2>&1)
code=$?
printf '%s\\n' "$said" >&2
exit $code
"""


def installed(machine: Machine, names: Sequence[str]) -> set[str]:
    """Those of the packages that are installed whole."""
    form = "${Package} ${db:Status-Status}\\n"
    lines = machine.root(["dpkg-query", "-W", "-f", form, *names], check=False).output.splitlines()
    return {words[0] for line in lines if (words := line.split())[1:] == ["installed"]}


def install(machine: Machine, names: Sequence[str]) -> None:
    """Install packages, and remove none: what is in their way is somebody's.

    Raises:
        StepFailed: apt-get cannot get at its lists or packages, or what a package brings fails.
    """
    try:
        machine.root(["sh", "-c", _UPDATE], seconds=SECONDS)
        # Of a configuration file that somebody changed, theirs stays.
        machine.root(["sh", "-c", _INSTALL, "sh", *names], seconds=SECONDS, env=QUIET)
    except StepFailed as error:
        error.found = f"apt-get does not install {', '.join(names)}: its last lines say why."
        error.next = "On the server: sudo apt-get update; when that works, the same command again."
        raise
