from __future__ import annotations

import re
import secrets

from apps.ops.dotenv import fill, parse, read_example
from apps.ops.errors import Refused
from apps.ops.provision.steps.base import Found, Step

# Its last part does not begin with a digit: an address is none.
_NAME = re.compile(r"(?:[A-Za-z0-9-]+\.)+[A-Za-z][A-Za-z0-9-]*")


class EnvFile(Step):
    """The server's `.env`: made from `.env.example` with secrets of its own, never overwritten."""

    name = ".env"

    def look(self) -> Found:
        text = self.machine.read(self._path)
        if text is None:
            site = self._named() or "a site whose name is to be given: --site-host"
            return Found(
                False,
                f"Make {self._path} from .env.example, with a SECRET_KEY and a POSTGRES_PASSWORD "
                f"of its own, for {site}.",
            )
        example = read_example(self.machine.read(f"{self.machine.directory}/.env.example") or "")
        if missing := example.missing(parse(text)):
            raise Refused(
                f"{self._path} is there, and lacks {', '.join(missing)}. It is not overwritten.",
                next=self.machine.server.command("env edit"),
            )
        mode, owner = self.machine.root(["stat", "-L", "-c", "%a %U", self._path]).output.split()
        if mode not in ("600", "400") or owner != self.machine.deploy_user:
            return Found(
                False,
                f"Let {self._path} be read by {self.machine.deploy_user} only (it has mode {mode} "
                f"and is {owner}'s).",
            )
        return Found(True, f"{self._path} has all that .env.example requires.")

    def act(self) -> str:
        if self.machine.has(self._path):
            self.machine.root(["chown", f"{self.machine.deploy_user}:", self._path])
            self.machine.root(["chmod", "600", self._path])
            return (
                f"{self._path} is {self.machine.deploy_user}'s, with mode 600; what is in it was "
                "left as it is."
            )
        example = self.machine.read(f"{self.machine.directory}/.env.example")
        if example is None:
            raise Refused(
                f"{self.machine.directory} has no .env.example to make .env from.",
                next="Commit one and push it; then the same command again.",
            )
        values = {
            "SECRET_KEY": secrets.token_urlsafe(48),
            "POSTGRES_PASSWORD": secrets.token_hex(24),
            "SITE_HOST": self._site_host(),
        }
        text = fill(example, values)
        owner = f"{self.machine.deploy_user}:"
        self.machine.write(self._path, text, mode="600", owner=owner)
        return f"Made {self._path} (mode 600) with secrets that nobody has seen."

    @property
    def _path(self) -> str:
        return f"{self.machine.directory}/.env"

    def _site_host(self) -> str:
        if not (host := self._named()):
            raise Refused(
                f"{self.wish.site_host!r} is no name of a site.",
                next="Give it: --site-host www.example.org",
            )
        return host

    def _named(self) -> str:
        """The site's name; empty when it is an address, or a name of yours for the server."""
        return host if _NAME.fullmatch(host := self.wish.site_host) else ""
