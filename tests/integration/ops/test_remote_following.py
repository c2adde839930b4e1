"""What goes on when nobody is connected: every line once, the exit code, and nothing left there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread, Timer
from time import sleep
from typing import Any

import pytest

from apps.ops.remote import commands, connection, following, login, reach
from apps.ops.remote.asking import Nobody
from apps.ops.remote.commands import LABEL, Words
from apps.ops.remote.connection import Completed, Connection, connect
from apps.ops.remote.failures import RemoteFailed, TookTooLong
from apps.ops.remote.following import Detached, Follower, Gone, NeverStarted, Wish
from apps.ops.remote.servers import Server
from tests.integration.ops.remote_site import IMAGE, Site
from tests.rig.sshd import Relay, Sshd, make_key
from tests.servers import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path / "it's a site")
    yield site
    site.destroy()


@pytest.fixture
def sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """A server that knows us."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    sshd = Sshd().allow(make_key(tmp_path / ".ssh" / "id_ed25519"))
    try:
        yield sshd.start()
    finally:
        sshd.destroy()


@pytest.fixture
def relay(tmp_path: Path, sshd: Sshd) -> Iterator[Relay]:
    with closing(Relay(sshd.port)) as relay:
        (tmp_path / ".ssh" / "known_hosts").write_text(sshd.known_hosts_line(relay.port))
        yield relay


@pytest.fixture
def slow_relay(tmp_path: Path, sshd: Sshd) -> Iterator[Relay]:
    """A telephone in the countryside."""
    with closing(Relay(sshd.port, bytes_per_second=50_000, latency=0.1)) as relay:
        (tmp_path / ".ssh" / "known_hosts").write_text(sshd.known_hosts_line(relay.port))
        yield relay


class Client:
    """A laptop that follows: what it has shown, and what it was told."""

    def __init__(
        self, relay: Relay, site: Site, wish: Wish = Wish.DETACH, directory: str = ""
    ) -> None:
        where = directory or str(site.directory)
        self.server = Server("test", None, "127.0.0.1", relay.port, where)
        self.out: list[str] = []
        self.err: list[str] = []
        self.told: list[str] = []
        self.name = commands.new_name("backup_db")
        self.follower = Follower(self.server, self.link, say=self.told.append, wish=lambda: wish)

    def link(self) -> Connection:
        return connect(self.server, ask=Nobody(), say=print)

    def start(self, lines: int, *, pause: float = 0.0, code: int = 0) -> None:
        words = ["backup_db", "-n", str(lines), "-p", str(pause), "-c", str(code)]
        argv = commands.detached(
            self.server.directory, Words.of(words), name=self.name, by="ada@laptop", environment={}
        )
        self.follower.start(argv, self.name)

    def follow(self, on_line: Callable[[], object] = lambda: None) -> int:
        def show(line: bytes) -> None:
            self.out.append(line.decode())
            on_line()

        try:
            return self.follower.follow(
                self.name, on_stdout=show, on_stderr=lambda line: self.err.append(line.decode())
            )
        finally:
            self.follower.close()


def whole(lines: int) -> tuple[list[str], list[str]]:
    """What it writes, on standard output and standard error."""
    out = [f"out {number}" for number in range(lines)] + [f"long {'x' * 100_000}"]
    return out, [f"err {number}" for number in range(0, lines, 7)]


def test_each_line_comes_once_with_the_exit_code_and_nothing_is_left(
    relay: Relay, site: Site
) -> None:
    client = Client(relay, site)
    client.start(100, code=6)
    assert client.follow() == 6
    assert (client.out, client.err) == whole(100)
    assert site.containers() == []


def test_no_line_is_lost_or_repeated_however_often_the_link_is_cut(
    relay: Relay, site: Site
) -> None:
    client, cuts = Client(relay, site), iter(range(20, 300, 45))
    at = next(cuts)

    def cut() -> None:
        nonlocal at
        if len(client.out) >= at:
            at = next(cuts, 10_000)
            relay.cut()

    client.start(300, pause=0.02, code=3)
    assert client.follow(cut) == 3
    assert (client.out, client.err) == whole(300)
    assert client.told.count("Connected again.") == 7
    assert site.containers() == []


def test_a_slow_link_loses_nothing_when_there_is_much_to_say(slow_relay: Relay, site: Site) -> None:
    client = Client(slow_relay, site)
    client.start(3000, code=6)
    assert client.follow() == 6
    assert (client.out, client.err) == whole(3000)
    assert client.told == []


def test_a_link_that_falls_silent_is_made_anew(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "ASK_ALIVE_SECONDS", 0.2)
    monkeypatch.setattr(connection, "ANSWER_SECONDS", 1.0)
    client = Client(relay, site)

    def hush() -> None:
        if len(client.out) == 20:
            relay.fall_silent()
            Timer(4.0, relay.speak_again).start()

    client.start(100, pause=0.02)
    assert client.follow(hush) == 0
    assert (client.out, client.err) == whole(100)
    assert "Connected again." in client.told


def test_a_link_that_falls_silent_in_the_login_is_no_refusal(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, logins, log_in = Client(relay, site), [], reach.log_in

    def fall_silent_in_the_second(*arguments: Any, **options: Any) -> None:
        logins.append(arguments)
        with monkeypatch.context() as patch:
            if len(logins) == 2:
                patch.setattr(login, "LOGIN_SECONDS", 1.0)
                relay.fall_silent()
                Timer(3.0, relay.speak_again).start()
            log_in(*arguments, **options)

    def cut() -> None:
        if len(client.out) == 20:
            relay.cut()

    monkeypatch.setattr(reach, "log_in", fall_silent_in_the_second)
    client.start(100, pause=0.02, code=6)
    assert client.follow(cut) == 6
    assert (client.out, client.err) == whole(100)
    assert len(logins) >= 3


def test_a_link_that_is_cut_while_it_starts_does_not_start_it_twice(
    relay: Relay, site: Site
) -> None:
    client = Client(relay, site)

    def cut_soon() -> None:
        relay.wait_for_connection()
        sleep(0.6)  # About when Compose runs; wherever it falls, the same holds.
        relay.cut()

    thread = Thread(target=cut_soon)
    thread.start()
    client.follower._link()
    client.start(30)
    thread.join()
    assert client.follow() == 0
    assert (client.out, client.err) == whole(30)


def test_a_client_that_is_gone_ends_nothing_and_the_next_one_sees_all(
    relay: Relay, site: Site
) -> None:
    first, second = Client(relay, site), Client(relay, site)
    first.start(100, pause=0.02, code=6)
    name = first.name

    class Killed(Exception):
        pass

    def die() -> None:
        if len(first.out) > 20:
            raise Killed

    with pytest.raises(Killed):
        first.follow(die)
    assert site.is_running(name)
    second.name = second.follower.newest()
    assert second.name == name
    assert second.follower.state(name).words.argv[0] == "backup_db"
    assert second.follow() == 6
    assert (second.out, second.err) == whole(100)


def interrupt_at(client: Client, line: int) -> Callable[[], None]:
    def interrupt() -> None:
        if len(client.out) == line:
            raise KeyboardInterrupt

    return interrupt


def test_ctrl_c_and_detach_lets_it_go_on_and_says_how_to_come_back(
    relay: Relay, site: Site
) -> None:
    client = Client(relay, site, Wish.DETACH)
    client.start(1000, pause=0.02)
    with pytest.raises(Detached) as detached:
        client.follow(interrupt_at(client, 5))
    assert detached.value.next == f"manage.py remote --server test attach {client.name}"
    assert detached.value.exit_code == 255
    assert site.is_running(client.name)


def test_ctrl_c_and_cancel_ends_it_and_its_own_exit_code_comes_back(
    relay: Relay, site: Site
) -> None:
    client = Client(relay, site, Wish.CANCEL)
    client.start(1000, pause=0.02)
    assert client.follow(interrupt_at(client, 5)) == 130
    assert client.out[-1] == "asked to stop"
    assert client.out[:-1] == [f"out {number}" for number in range(len(client.out) - 1)]


def test_ctrl_c_while_it_starts_ends_what_was_started(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = Client(relay, site, Wish.CANCEL)
    link = client.follower._link()
    run = link.run

    def interrupted(*arguments: Any, **options: Any) -> Completed:
        monkeypatch.setattr(link, "run", run)
        with suppress(TookTooLong):
            run(*arguments, **{**options, "seconds": 0.3})
        raise KeyboardInterrupt

    monkeypatch.setattr(link, "run", interrupted)
    client.start(1000, pause=0.02)
    assert client.follow() in (130, 143)
    assert site.containers() == []


def test_ctrl_c_and_on_misses_nothing(relay: Relay, site: Site) -> None:
    client = Client(relay, site, Wish.FOLLOW)
    client.start(100, pause=0.01)
    assert client.follow(interrupt_at(client, 5)) == 0
    assert (client.out, client.err) == whole(100)


def test_a_checkout_that_is_not_there_starts_nothing_and_says_so(relay: Relay, site: Site) -> None:
    client = Client(relay, site, directory="/no/such/place")
    with pytest.raises(RemoteFailed, match="/no/such/place, it could not be started") as failed:
        client.start(1)
    assert "/no/such/place" in failed.value.output
    assert "traffic is as it was" in failed.value.traffic


def test_a_server_that_does_not_come_back_is_given_up_with_the_next_command(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AGAIN_SECONDS", 1.0)
    client = Client(relay, site)
    client.start(1000, pause=0.02)

    def end() -> None:
        if len(client.out) == 5:
            relay.close()

    with pytest.raises(RemoteFailed) as failed:
        client.follow(end)
    assert failed.value.exit_code == 255
    assert failed.value.traffic == "What was begun there goes on."
    assert failed.value.next.startswith(f"manage.py remote --server test attach {client.name}")
    wait_until(lambda: site.is_running(client.name))


def test_a_long_silence_uses_up_no_sessions_of_the_server(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "FOLLOW_SECONDS", 0.3)
    client = Client(relay, site)
    client.start(2, pause=5.0)
    # More often than sshd's MaxSessions, which is ten.
    assert client.follow() == 0
    assert (client.out, client.err) == whole(2)
    assert client.told == []


def test_what_could_not_be_started_leaves_nothing_to_attach_to(relay: Relay, site: Site) -> None:
    client = Client(relay, site)
    words = Words.of(["backup_db"])
    argv = commands.detached(
        client.server.directory, words, name=client.name, by="ada", environment={}
    )
    wrong = [*argv[: argv.index("utility")], "--user", "nobody-knows-me", "utility"]
    with pytest.raises(RemoteFailed, match="it could not be started"):
        client.follower.start(wrong, client.name)
    assert site.containers() == []
    with pytest.raises(Gone):
        client.follower.newest()


def test_what_was_made_and_never_started_is_not_waited_for(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "APPEAR_SECONDS", 1.0)
    client = Client(relay, site)
    argv = ["docker", "create", "--name", client.name, "--label", f"{LABEL}={site.directory}"]
    client.link().run([*argv, IMAGE, "true"], seconds=30)
    with pytest.raises(NeverStarted) as failed:
        client.follow()
    assert "Nothing was begun" in failed.value.traffic
    with pytest.raises(Gone):
        client.follower.newest()


def test_a_server_that_lets_in_and_then_hangs_up_is_given_up_too(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "AGAIN_SECONDS", 2.0)
    client = Client(relay, site)
    client.start(1000, pause=0.02)
    links = 0

    def link() -> Connection:
        nonlocal links
        links += 1
        made = connect(client.server, ask=Nobody(), say=print)
        relay.cut()
        return made

    client.follower._connect = link

    with pytest.raises(RemoteFailed) as failed:
        client.follow(lambda: len(client.out) == 5 and relay.cut())
    assert "was lost, and for" in failed.value.found
    assert failed.value.traffic == "What was begun there goes on."
    assert links < 10  # Each is a login: no more than the pauses allow.


def test_a_link_that_is_cut_before_anything_was_asked_is_made_anew(
    relay: Relay, site: Site
) -> None:
    client = Client(relay, site)
    client.start(3)
    cuts = iter([True, True, False])

    def link() -> Connection:
        made = connect(client.server, ask=Nobody(), say=print)
        if next(cuts, False):
            relay.cut()
        return made

    client.follower.close()
    client.follower._connect = link

    assert client.follower.newest() == client.name
    assert client.follower.words(client.name).command == "backup_db"
    assert client.told == [
        "The link is lost; what runs there goes on. Connecting again …",
        "Connected again.",
    ]


def test_what_is_not_there_is_said(
    relay: Relay, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "APPEAR_SECONDS", 0.0)
    client = Client(relay, site)
    with pytest.raises(Gone, match="there is nothing to follow"):
        client.follower.newest()
    with pytest.raises(Gone, match=f"there is no {client.name}"):
        client.follow()
