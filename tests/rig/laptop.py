"""A developer's laptop: a real client of a real sshd, and between the two a link that can be cut.

The sshd is in front of the Docker that runs here: who logs in finds `docker compose` and the
checkout, as on a server.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from threading import Thread
from time import monotonic, sleep
from typing import IO

from tests.rig.sshd import Relay, Sshd, make_key
from tests.servers import HUNG_SECONDS

CHECKOUT = Path(__file__).parents[2]
LOST = re.compile(rb"link (is|was) lost")
ATTENTIVE_SECONDS = 0.02


class Client:
    """A `manage.py remote …` that runs, and what it has written so far."""

    def __init__(self, argv: list[str], environment: dict[str, str]) -> None:
        self.begun = monotonic()
        self._process = subprocess.Popen(
            argv,
            cwd=CHECKOUT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self._process.stdout
        assert self._process.stderr
        self._kept = (bytearray(), bytearray())
        # Seconds until the first byte of standard output.
        self.first_after: float | None = None
        self._readers = [
            Thread(target=self._read, args=(number, stream), daemon=True)
            for number, stream in enumerate((self._process.stdout, self._process.stderr))
        ]
        for reader in self._readers:
            reader.start()

    @property
    def out(self) -> bytes:
        return bytes(self._kept[0])

    @property
    def err(self) -> bytes:
        return bytes(self._kept[1])

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def losses(self) -> int:
        """How often it said that the link is lost."""
        return len(LOST.findall(self.err))

    @property
    def is_connected(self) -> bool:
        """Whether it is not on its way to a new link, as far as it said."""
        return self.losses == self.err.count(b"Connected again.")

    def wait(self, seconds: float) -> int:
        """Its exit code; subprocess.TimeoutExpired when it hangs."""
        code = self._process.wait(seconds)
        for reader in self._readers:
            reader.join(seconds)
        return code

    def kill(self) -> None:
        """As a battery that is empty."""
        self._process.send_signal(signal.SIGKILL)
        self.wait(30)

    def wait_until_lost(self, *, before: int, seconds: float) -> float | None:
        """Seconds until it says once more that the link is lost; None when it ends or does not."""
        begun = monotonic()
        while monotonic() - begun < seconds and not self.ended:
            if self.losses > before:
                return monotonic() - begun
            sleep(ATTENTIVE_SECONDS)
        return None

    def _read(self, number: int, stream: IO[bytes]) -> None:
        while data := os.read(stream.fileno(), 65536):
            if number == 0 and self.first_after is None:
                self.first_after = monotonic() - self.begun
            self._kept[number].extend(data)
        stream.close()


class Laptop:
    """Knows one server: the checkout `site`, behind `relay`."""

    def __init__(self, site: Path) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="changeover-laptop-"))
        self._sshd = Sshd().allow(make_key(self.home / ".ssh" / "id_ed25519"))
        try:
            self.relay = Relay(self._sshd.start().port)
        except BaseException:
            self._sshd.destroy()
            raise
        (self.home / ".ssh" / "known_hosts").write_text(
            self._sshd.known_hosts_line(self.relay.port)
        )
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "SECRET_KEY": "laptop-only",
            "OPS_REQUESTED_BY": "ada@laptop",
            "OPS_SERVERS": f"production=127.0.0.1:{self.relay.port}{site}",
        }

    def begin(self, *arguments: str) -> Client:
        """`manage.py remote ARGUMENTS`, without a terminal."""
        return Client([sys.executable, "manage.py", "remote", *arguments], self._environment)

    def ssh(self, *words: str) -> float:
        """How many seconds OpenSSH's client takes for this."""
        begun = monotonic()
        options = [f"UserKnownHostsFile={self.home}/.ssh/known_hosts", "BatchMode=yes"]
        subprocess.run(
            ["ssh", *(part for option in options for part in ("-o", option))]
            + ["-i", f"{self.home}/.ssh/id_ed25519", "-p", str(self.relay.port), "127.0.0.1"]
            + [*words],
            stdin=subprocess.DEVNULL,
            check=True,
            timeout=HUNG_SECONDS,
        )
        return monotonic() - begun

    def close(self) -> None:
        self.relay.close()
        self._sshd.destroy()
        shutil.rmtree(self.home, ignore_errors=True)
