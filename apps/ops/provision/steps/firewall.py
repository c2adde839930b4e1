from __future__ import annotations

import re
from collections.abc import Sequence

from apps.ops.errors import Refused, StepFailed
from apps.ops.provision.steps import apt
from apps.ops.provision.steps.base import Found, Step

# 443 over UDP is HTTP/3.
SITE = ("80/tcp", "443/tcp", "443/udp")
SSH = 22
OTHERS = ("firewalld", "nftables", "netfilter-persistent")


class Firewall(Step):
    """ufw lets in SSH, HTTP and HTTPS, and nothing else. Rules that are there stay."""

    name = "firewall"

    def look(self) -> Found:
        ports = ", ".join(self._ports())
        status = self.machine.root(["ufw", "status", "verbose"], check=False)
        if "Status: active" not in status.output:
            self._stop_at_another()
            return Found(False, f"Let in {ports} with ufw, and nothing else.")
        if not re.search(r"^Default: (deny|reject) \(incoming\)", status.output, re.MULTILINE):
            raise Refused(
                "ufw is active and lets in everything by default. To close it could cut off what "
                "else runs there.",
                next="On the server, if nothing does: sudo ufw default deny incoming; else: "
                f"{self._skip()}",
            )
        # We came through it: who may use SSH is settled, for some addresses only perhaps.
        if missing := self._missing(SITE):
            return Found(False, f"Let in {', '.join(missing)} with ufw, too.")
        return Found(True, f"ufw lets in {', '.join(SITE)}, and who may log in.")

    def act(self) -> str:
        if not apt.installed(self.machine, ["ufw"]):
            apt.install(self.machine, ["ufw"])
        is_active = "Status: active" in self.machine.root(["ufw", "status"]).output
        ports = SITE if is_active else self._ports()
        for port in self._missing(ports):
            self.machine.root(["ufw", "allow", port])
        # Read back before anything is closed: what is not let in now would be locked out.
        if missing := self._missing(ports):
            raise StepFailed(
                f"ufw does not have the rule for {', '.join(missing)}, so nothing was closed.",
                next="On the server: sudo ufw show added",
            )
        if not is_active:
            self._close()
        return f"ufw lets in {', '.join(ports)}, and nothing else that you did not allow."

    def _close(self) -> None:
        self.machine.root(["ufw", "default", "deny", "incoming"])
        try:
            self.machine.root(["ufw", "--force", "enable"])
        except StepFailed as error:
            # Half a firewall is none that anybody asked for.
            self.machine.root(["ufw", "--force", "disable"], check=False)
            error.next = (
                f"On the server: sudo ufw enable; or, with a firewall elsewhere: {self._skip()}"
            )
            raise

    def _skip(self) -> str:
        return f"manage.py provision --server {self.machine.server.name} --skip firewall"

    def _ports(self) -> list[str]:
        # The port through which this connection came is let in, whichever it is.
        ssh = sorted({SSH, self.machine.ssh_port or self.machine.server.port or SSH})
        return [*(f"{port}/tcp" for port in ssh), *SITE]

    def _missing(self, ports: Sequence[str]) -> list[str]:
        added = self.machine.root(["ufw", "show", "added"], check=False).output.splitlines()
        rules = {line.strip() for line in added}
        for port in ports:
            if against := rules & set(_rules(port, "deny", "reject")):
                raise Refused(
                    f"ufw has a rule of yours that keeps {port} out: {min(against)}.",
                    next="On the server, if the site is meant to be reached: sudo ufw delete "
                    f"{min(against).removeprefix('ufw ')}; else: {self._skip()}",
                )
        return [port for port in ports if not rules & set(_allowing(port))]

    def _stop_at_another(self) -> None:
        for program in OTHERS:
            running = ["systemctl", "--quiet", "is-active", program]
            if self.machine.root(running, check=False).code == 0:
                raise Refused(
                    f"{program} is at work on {self.machine.server.host}; a second firewall "
                    "beside it would get in its way.",
                    next=f"Let in {', '.join(self._ports())} there; then: {self._skip()}",
                )


def _allowing(port: str) -> list[str]:
    """The rules, as ufw lists them, that let in a port from everywhere."""
    rules = _rules(port, "allow", "limit")
    if port == f"{SSH}/tcp":
        rules += ["ufw allow OpenSSH", "ufw limit OpenSSH"]
    return rules


def _rules(port: str, *verbs: str) -> list[str]:
    return [f"ufw {verb} {p}" for verb in verbs for p in (port, port.partition("/")[0])]
