"""A real OpenSSH server of a test's own, its keys, and a link to it that can be cut."""

from __future__ import annotations

import math
import os
import shutil
import socket
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import sleep
from typing import Self

from tests.servers import HUNG_SECONDS, Server, wait_until

PROGRAM = "/usr/sbin/sshd"


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> Path:
    """A key pair: the private half at `path`, the public one beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    argv = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "ada", "-f", str(path)]
    subprocess.run(argv, check=True, timeout=HUNG_SECONDS)
    return path


def public(path: Path) -> str:
    return path.with_name(f"{path.name}.pub").read_text()


class Sshd(Server):
    """Args:
    settings: lines of sshd_config.
    address: where it listens.
    """

    def __init__(self, *settings: str, address: str = "127.0.0.1") -> None:
        if not Path(PROGRAM).exists():
            raise RuntimeError("There is no OpenSSH server here: apt-get install openssh-server")
        super().__init__()
        self.settings = settings
        self.address = address
        self.host_key = make_key(self.directory / "host_ed25519")
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)

    def allow(self, *keys: Path) -> Self:
        """Let in who has one of these private keys, and nobody else."""
        (self.directory / "authorized_keys").write_text("".join(public(key) for key in keys))
        return self

    def change_host_key(self) -> None:
        """As if it were installed anew."""
        self.kill()
        for path in self.directory.glob("host_ed25519*"):
            path.unlink()
        make_key(self.host_key)
        self.start()

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    @property
    def fingerprint(self) -> str:
        argv = ["ssh-keygen", "-lf", str(self.host_key)]
        said = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=30).stdout
        return said.split()[1]

    def known_hosts_line(self, port: int | None = None) -> str:
        key = " ".join(public(self.host_key).split()[:2])
        return f"[{self.address}]:{port or self.port} {key}\n"

    def _argv(self) -> list[str]:
        config = self.directory / "sshd_config"
        config.write_text(
            "\n".join(
                [
                    *self.settings,
                    f"Port {self.port}",
                    f"ListenAddress {self.address}",
                    f"HostKey {self.host_key}",
                    f"AuthorizedKeysFile {self.directory / 'authorized_keys'}",
                    "PidFile none",
                    "StrictModes no",
                    "UsePAM no",
                    "PermitRootLogin yes",
                    "PasswordAuthentication no",
                    "KbdInteractiveAuthentication no",
                    "MaxStartups 100",
                    "Subsystem sftp internal-sftp",
                ]
            )
            + "\n"
        )
        return [PROGRAM, "-D", "-e", "-f", str(config)]

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.address, self.port), timeout=1) as sock:
                return sock.recv(8).startswith(b"SSH-2.0")
        except OSError:
            return False


class Relay:
    """A port that leads to another one, until the link is cut or falls silent.

    Args:
        bytes_per_second: in each direction; without it, as fast as it goes.
        latency: seconds that what is sent at once takes for the way.
    """

    def __init__(
        self, target: int, *, bytes_per_second: float = math.inf, latency: float = 0.0
    ) -> None:
        self._target = target
        self._bytes_per_second = bytes_per_second
        self._latency = latency
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._silent = Event()
        self._closed = False
        Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End every connection there is; new ones are possible."""
        for sock in self._taken():
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def reset(self) -> None:
        """The same with TCP's RST, as a middlebox does it that has forgotten a connection."""
        for sock in self._taken():
            with suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.shutdown(socket.SHUT_RD)  # Wakes who reads; the other side is not told.
            sock.close()

    def fall_silent(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._silent.set()

    def speak_again(self) -> None:
        self.cut()
        self._silent.clear()

    def wait_for_connection(self) -> None:
        wait_until(lambda: self._pairs)

    def close(self) -> None:
        self._closed = True
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # Who waits in accept() would have one more.
        self._listener.close()
        self.cut()

    def _taken(self) -> list[socket.socket]:
        pairs, self._pairs = self._pairs, []
        return [sock for pair in pairs for sock in pair]

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._pairs.append((near, far))
            for source, sink in ((near, far), (far, near)):
                Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._silent.is_set():
                    continue
                sleep(self._latency + len(data) / self._bytes_per_second)
                sink.sendall(data)
        for sock in (source, sink):
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class SshAgent:
    """An ssh-agent with these keys."""

    def __init__(self, directory: Path, *keys: Path) -> None:
        self.socket = directory / "agent.sock"
        program = shutil.which("ssh-agent")
        assert program
        self._process = subprocess.Popen(
            [program, "-D", "-a", str(self.socket)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self.socket.exists)
        for key in keys:
            subprocess.run(
                ["ssh-add", "-q", str(key)],
                env={**os.environ, "SSH_AUTH_SOCK": str(self.socket)},
                check=True,
                timeout=HUNG_SECONDS,
            )

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
