"""`Checkout` with real git: a colleague pushes, the server fetches."""

from __future__ import annotations

import io
import os
import socket
import tarfile
import tempfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from apps.ops.errors import Refused, StepFailed
from apps.ops.source import Checkout
from tests.conftest import Git
from tests.servers import HUNG_SECONDS


def fetch(checkout: Checkout, seconds: float = HUNG_SECONDS) -> None:
    checkout.fetch(seconds=seconds, say=print)


def test_a_fetched_commit_is_the_main_branchs_and_the_working_tree_stays(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second", {"README": "two\n"})

    fetch(checkout)

    assert checkout.resolve(None) == second
    assert git.on_server("rev-parse", "HEAD") == git.first
    assert (git.checkout / "README").read_text() == "one\n"


def test_a_commit_is_known_by_its_author_time_and_subject(git: Git, checkout: Checkout) -> None:
    commit = checkout.commit(git.first)

    assert (commit.sha, commit.author, commit.subject) == (git.first, "Ada", "First")
    assert commit.short == git.first[:12]
    assert commit.committed_at.tzinfo is not None


def test_a_ref_is_a_branch_or_a_tag_of_the_remote_or_a_commit(git: Git, checkout: Checkout) -> None:
    git.run("checkout", "--quiet", "-b", "feature/x")
    feature = git.push("Feature")
    git.run("tag", "light", git.first)
    git.run("tag", "--annotate", "--message", "v1", "v1", feature)
    git.run("push", "--quiet", "--tags", "origin")
    fetch(checkout)

    assert checkout.resolve("feature/x") == feature
    assert checkout.resolve("light") == git.first
    assert checkout.resolve("v1") == feature
    assert checkout.resolve(feature) == feature
    assert checkout.resolve(feature[:7]) == feature
    assert checkout.resolve(None) == git.first


def test_the_remotes_branch_counts_and_not_the_servers_own(git: Git, checkout: Checkout) -> None:
    second = git.push("Second")
    fetch(checkout)

    assert git.on_server("rev-parse", "main") == git.first
    assert checkout.resolve("main") == second


def test_a_deleted_branch_is_forgotten_and_a_moved_tag_followed(
    git: Git, checkout: Checkout
) -> None:
    git.run("checkout", "--quiet", "-b", "gone")
    second = git.push("Second")
    git.run("tag", "moves", git.first)
    git.run("push", "--quiet", "--tags", "origin")
    fetch(checkout)
    git.run("push", "--quiet", "origin", "--delete", "gone")
    git.run("tag", "--force", "moves", second)
    git.run("push", "--quiet", "--force", "--tags", "origin")
    fetch(checkout)

    with pytest.raises(Refused):
        checkout.resolve("gone")
    assert checkout.resolve("moves") == second


def test_a_force_pushed_main_is_followed_and_what_it_left_can_still_be_named(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second")
    fetch(checkout)
    git.run("reset", "--quiet", "--hard", git.first)
    other = git.push("Other second")

    fetch(checkout)

    assert checkout.resolve(None) == other
    assert checkout.resolve(second) == second
    commits, total = checkout.commits_between(second, other, limit=10)
    assert ([c.subject for c in commits], total) == (["Other second"], 1)


def test_commits_are_listed_newest_first_up_to_a_limit_and_all_are_counted(
    git: Git, checkout: Checkout
) -> None:
    shas = [git.commit(f"Commit {n}") for n in range(5)]
    git.run("push", "--quiet", "origin", "main")
    fetch(checkout)

    commits, total = checkout.commits_between(git.first, shas[-1], limit=3)

    assert [c.sha for c in commits] == shas[:1:-1]
    assert total == 5
    assert checkout.commits_between(None, shas[-1], limit=99)[1] == 6
    assert checkout.commits_between("f" * 40, shas[-1], limit=99)[1] == 6
    assert checkout.commits_between(shas[-1], git.first, limit=99) == ([], 0)


@pytest.mark.parametrize("subject", ["Grüße 🎉 “quoted” <b>", "%H %s {x} [bold]", "a\tb", "'\"\\"])
def test_a_subject_is_text(git: Git, checkout: Checkout, subject: str) -> None:
    sha = git.push(subject)
    fetch(checkout)

    assert checkout.commit(sha).subject == subject
    assert checkout.commits_between(git.first, sha, limit=9)[0][0].subject == subject


@pytest.mark.parametrize("odd", ["\N{LINE SEPARATOR}", "\x0b", "\x0c", "\x85", "\x1c", "\r"])
def test_a_subject_with_an_odd_line_break_does_not_stop_deployments(
    git: Git, checkout: Checkout, odd: str
) -> None:
    sha = git.push(f"Before{odd}after")
    fetch(checkout)

    commits, total = checkout.commits_between(git.first, sha, limit=9)
    assert total == 1
    assert commits[0].sha == checkout.commit(sha).sha == sha
    assert commits[0].subject.endswith("after")


def test_a_file_is_read_as_the_commit_has_it(git: Git, checkout: Checkout) -> None:
    (git.checkout / "README").write_text("changed on the server\n")

    assert checkout.file(git.first, "README") == "one"
    assert checkout.file(git.first, "nothing/here") is None
    assert checkout.files(git.first) == ["README"]


def test_changed_files_are_the_tracked_ones(git: Git, checkout: Checkout) -> None:
    assert checkout.changed_files() == []
    (git.checkout / ".env").write_text("A=1")
    assert checkout.changed_files() == []

    (git.checkout / "README").write_text("changed\n")
    assert checkout.changed_files() == ["README"]


def tar_of(checkout: Checkout, sha: str) -> dict[str, bytes]:
    with checkout.archive(sha) as stream:
        content = stream.read()
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        files = [member for member in tar if member.isfile()]
        assert {file.mode for file in files} == {0o644}, "as in a checkout"
        return {m.name: tar.extractfile(m).read() for m in files}  # type: ignore[union-attr]


def test_an_archive_is_what_git_has_and_nothing_that_lies_around(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second", {"apps/x.py": "x\n", "README": "two\n"})
    fetch(checkout)
    (git.checkout / ".env").write_text("SECRET_KEY=x")

    assert tar_of(checkout, second) == {"README": b"two\n", "apps/x.py": b"x\n"}
    assert tar_of(checkout, git.first) == {"README": b"one\n"}


def test_an_archive_that_nobody_reads_to_its_end_leaves_no_git_behind(
    git: Git, checkout: Checkout
) -> None:
    big = git.push("Big", {"big": "x" * 1_000_000})
    fetch(checkout)
    with checkout.archive(big) as stream:
        stream.read(10)

    assert not [p for p in children() if b"archive" in p]


def children() -> list[bytes]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.append((stat.parent / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_an_archive_that_git_could_not_finish_is_an_error(checkout: Checkout) -> None:
    with pytest.raises(StepFailed), checkout.archive("f" * 40) as stream:
        stream.read()


def test_the_working_tree_follows_along_its_branch(git: Git, checkout: Checkout) -> None:
    second = git.push("Second", {"README": "two\n"})
    fetch(checkout)

    checkout.move_to(second)

    assert git.on_server("rev-parse", "HEAD") == second
    assert git.on_server("symbolic-ref", "--short", "HEAD") == "main"
    assert (git.checkout / "README").read_text() == "two\n"


def test_a_detached_working_tree_stays_detached(git: Git, checkout: Checkout) -> None:
    second = git.push("Second")
    fetch(checkout)
    git.on_server("checkout", "--quiet", "--detach", git.first)

    checkout.move_to(second)

    assert git.on_server("rev-parse", "HEAD") == second
    assert git.on_server("rev-parse", "main") == git.first


def test_a_working_tree_on_another_branch_leaves_that_branch_alone(
    git: Git, checkout: Checkout
) -> None:
    second = git.push("Second")
    fetch(checkout)
    git.on_server("checkout", "--quiet", "-b", "mine")

    checkout.move_to(second)

    assert git.on_server("rev-parse", "HEAD") == second
    assert git.on_server("rev-parse", "mine") == git.first


def test_a_working_tree_whose_main_was_force_pushed_away_is_detached_at_what_is_live(
    git: Git, checkout: Checkout
) -> None:
    checkout.move_to(fetched(git, checkout, "Second"))
    git.run("reset", "--quiet", "--hard", git.first)
    other = fetched(git, checkout, "Other second")

    checkout.move_to(other)

    assert git.on_server("rev-parse", "HEAD") == other


def fetched(git: Git, checkout: Checkout, message: str) -> str:
    sha = git.push(message)
    fetch(checkout)
    return sha


def test_a_working_tree_follows_to_an_older_release_too(git: Git, checkout: Checkout) -> None:
    checkout.move_to(fetched(git, checkout, "Second"))

    checkout.move_to(git.first)

    assert git.on_server("rev-parse", "HEAD") == git.first


def test_moving_to_where_it_is_changes_nothing(git: Git, checkout: Checkout) -> None:
    checkout.move_to(git.first)

    assert git.on_server("symbolic-ref", "--short", "HEAD") == "main"


def test_no_checkout_is_said_before_git_is_asked(tmp_path: Path) -> None:
    with pytest.raises(StepFailed, match="is not a git checkout"):
        fetch(Checkout(tmp_path, remote="origin", branch="main"))


def test_a_remote_that_is_gone_is_said_with_what_git_says(git: Git, checkout: Checkout) -> None:
    git.remote.rename(git.remote.with_suffix(".away"))

    with pytest.raises(StepFailed) as caught:
        fetch(checkout)

    assert caught.value.found == "git could not fetch from the remote 'origin'."
    assert "does not appear to be a git repository" in caught.value.output


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Something that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0), backlog=5) as server:
        yield server.getsockname()[1]


def test_a_remote_that_hangs_has_a_deadline(
    git: Git, checkout: Checkout, silent_server: int
) -> None:
    git.on_server("remote", "set-url", "origin", f"git://127.0.0.1:{silent_server}/x.git")

    with pytest.raises(StepFailed, match=r"'origin': it timed out and was ended after 0\.5 s"):
        fetch(checkout, seconds=0.5)

    assert not [p for p in children() if b"fetch" in p]


class _AsksForAPassword(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_remote_that_wants_a_password_is_not_given_a_prompt(git: Git, checkout: Checkout) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), _AsksForAPassword) as server:
        Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/x.git"
        git.on_server("remote", "set-url", "origin", url)
        try:
            with pytest.raises(StepFailed) as caught:
                fetch(checkout)
        finally:
            server.shutdown()

    assert "terminal prompts disabled" in caught.value.output


@pytest.mark.skipif(os.geteuid() != 0, reason="only root meets a checkout of somebody else")
def test_git_runs_as_the_checkouts_owner_so_that_its_files_keep_theirs() -> None:
    nobody = 65534
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        root.chmod(0o755)
        git = Git(root)
        second = git.push("Second", {"new": "file\n"})
        for path in root.rglob("*"):
            os.lchown(path, nobody, nobody)
        checkout = Checkout(git.checkout, remote="origin", branch="main")

        fetch(checkout)
        checkout.move_to(second)

        assert (git.checkout / "new").read_text() == "file\n"
        assert {path.lstat().st_uid for path in git.checkout.rglob("*")} == {nobody}
