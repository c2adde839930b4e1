"""Uploads are packed and unpacked beside a site that puts into their tree what it likes, when it
likes. No database is needed: these are the real programs on real trees."""

from __future__ import annotations

import io
import os
import socket
import stat
import tarfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from apps.ops.backups import confined, media
from apps.ops.backups.files import BackupFile
from apps.ops.errors import OpsError, StepFailed
from tests.integration.ops.front_door import in_background
from tests.servers import HUNG_SECONDS

SECRET = "a private key"
STAMP = "20260101_000000"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The media directory, as the image makes it; a secret lies beside it."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/key").write_text(SECRET)
    root = tmp_path / "media"
    (root / "photos").mkdir(parents=True)
    (root / "photos/one.jpg").write_text("one")
    for path in (root, root / "photos", root / "photos/one.jpg"):
        os.chown(path, confined.WEB, confined.WEB)
    return root


def pack(root: Path) -> tuple[dict[str, tarfile.TarInfo], bytes, list[str]]:
    """The members by name, the archive, and what was said."""
    out, said = io.BytesIO(), list[str]()
    media.archive(
        root, out, deadline=monotonic() + HUNG_SECONDS, seconds=HUNG_SECONDS, say=said.append
    )
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as archive:
        return {member.name: member for member in archive}, out.getvalue(), said


def content(archive: bytes) -> bytes:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = [opened.extractfile(member) for member in opened if member.isreg()]
        return b"".join(file.read() for file in files if file)


# --- Packing --------------------------------------------------------------------------------------


def test_links_are_kept_as_links(root: Path) -> None:
    (root / "file").symlink_to("../outside/key")
    (root / "directory").symlink_to("../outside")
    (root / "everything").symlink_to("/")

    members, archive, _ = pack(root)

    assert {n for n, m in members.items() if m.issym()} == {"file", "directory", "everything"}
    assert {n for n, m in members.items() if not m.issym()} == {"photos", "photos/one.jpg"}
    assert content(archive) == b"one"


def test_a_directory_that_becomes_a_link_meanwhile_shows_nothing(root: Path) -> None:
    (root / "real").mkdir()
    (root / "real/key").write_text("an upload")
    (root / "linked").symlink_to(root.parent / "outside")
    done = Event()

    def swap() -> None:
        while not done.is_set():
            for name in ("real", "linked"):
                (root / name).rename(root / "shown")
                (root / "shown").rename(root / name)

    swapping = in_background(swap)
    try:
        archives = [pack(root)[1] for _ in range(10)]
    finally:
        done.set()
        swapping.join()

    assert not [a for a in archives if SECRET.encode() in content(a)]


def test_what_the_site_itself_may_not_read_is_left_out_and_named(root: Path) -> None:
    """The process that reads has no more rights than the site."""
    (root / "roots.txt").write_text(SECRET)
    (root / "roots.txt").chmod(0o600)
    (root / "roots").mkdir(mode=0o700)

    members, archive, said = pack(root)

    assert "roots.txt" not in members
    assert SECRET.encode() not in content(archive)
    assert sorted(said) == [
        "left out: 'roots' (Permission denied)",
        "left out: 'roots.txt' (Permission denied)",
    ]


def test_what_is_no_file_holds_nobody_up(root: Path) -> None:
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(root / "socket"))

        members, _, _ = pack(root)

    assert set(members) == {"photos", "photos/one.jpg"}


def test_a_file_that_is_cut_while_it_is_read_breaks_no_archive(root: Path) -> None:
    big, done = root / "big", Event()
    big.write_bytes(bytes(1_000_000))
    big.chmod(0o644)

    def cut() -> None:
        while not done.is_set():
            os.truncate(big, 10)
            os.truncate(big, 1_000_000)

    cutting = in_background(cut)
    try:
        for _ in range(5):
            assert "photos/one.jpg" in pack(root)[0]
    finally:
        done.set()
        cutting.join()


def test_names_may_be_anything(root: Path) -> None:
    names = [b"caf\xe9.txt", b"line\nbreak", b"-rf", b"x" * 255]
    for name in names:
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text("odd")

    members, _, _ = pack(root)

    assert {os.fsencode(n) for n in members} >= set(names)


def test_what_takes_too_long_is_ended(root: Path) -> None:
    with (root / "holes").open("wb") as file:
        file.truncate(1 << 40)
    (root / "holes").chmod(0o644)

    with pytest.raises(StepFailed, match="within 1 s"):
        media.archive(root, io.BytesIO(), deadline=monotonic() + 1, seconds=1, say=print)


# --- Unpacking ------------------------------------------------------------------------------------


def backup(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> BackupFile:
    dump = tmp_path / "site-20260101-000000.dump"
    file = BackupFile(dump, datetime.now(UTC), "", "")
    with tarfile.open(file.media, "w:gz") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))
    return file


def member(name: str, *, kind: bytes = tarfile.REGTYPE, link: str = "", **changes: int) -> tuple:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, link, 0o644
    for field, value in changes.items():
        setattr(info, field, value)
    data = b"new" if kind == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


def extract(root: Path, file: BackupFile, say: Callable[[str], object] = print) -> media.Aside:
    return media.extract(file, root, stamp=STAMP, seconds=HUNG_SECONDS, say=say)


def test_uploads_are_extracted_where_the_site_cannot_look_and_moved_whole(root: Path) -> None:
    file = backup(
        root.parent,
        member("photos", kind=tarfile.DIRTYPE),
        member("photos/two.jpg", mode=0o6777),
        member("photos/link", kind=tarfile.SYMTYPE, link="two.jpg"),
    )
    aside = extract(root, file)

    outer = root / f".restoring-{STAMP}"
    found = outer.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (0, 0o700)
    assert (root / "photos/one.jpg").exists()

    before = Path(aside.move_in(STAMP))

    made = (root / "photos/two.jpg").stat()
    # Neither for everybody to write nor with anybody's rights.
    assert (made.st_uid, made.st_gid, made.st_mode & 0o7777) == (10001, 10001, 0o755)
    assert (root / "photos").stat().st_uid == 10001
    assert (root / "photos/link").readlink() == Path("two.jpg")
    assert (before / "photos/one.jpg").read_text() == "one"
    assert stat.S_IMODE(before.stat().st_mode) == 0o700
    assert not outer.exists()


@pytest.mark.parametrize(
    "hostile",
    [
        member("../outside/key"),
        member("a/../../outside/key"),
        member("/etc/changeover-was-here"),
        member("..", kind=tarfile.DIRTYPE),
    ],
    ids=["dots", "dots inside", "absolute", "parent"],
)
def test_a_name_that_leads_out_is_refused_and_nothing_is_touched(
    root: Path, hostile: tuple
) -> None:
    with pytest.raises(StepFailed, match="leads out of the directory"):
        extract(root, backup(root.parent, member("first"), hostile))

    assert (root.parent / "outside/key").read_text() == SECRET
    assert not Path("/etc/changeover-was-here").exists()
    assert [p.name for p in root.iterdir()] == ["photos"]


@pytest.mark.parametrize(
    "odd",
    [
        member("link", kind=tarfile.SYMTYPE, link="/"),
        member("link", kind=tarfile.SYMTYPE, link="../outside"),
        member("link", kind=tarfile.SYMTYPE, link="photos/../../outside"),
        member("link", kind=tarfile.LNKTYPE, link="../outside/key"),
        member("link", kind=tarfile.LNKTYPE, link="first"),
        member("link", kind=tarfile.CHRTYPE, devmajor=1, devminor=1),
        member("link", kind=tarfile.BLKTYPE, devmajor=8),
        member("link", kind=tarfile.FIFOTYPE),
    ],
)
def test_links_that_lead_elsewhere_and_devices_are_left_out_and_named(
    root: Path, odd: tuple
) -> None:
    said = list[str]()

    aside = extract(root, backup(root.parent, member("first"), odd), said.append)
    aside.move_in(STAMP)

    assert (root / "first").read_text() == "new"
    assert not os.path.lexists(root / "link")
    assert [line for line in said if line.startswith("left out: 'link'")]


def test_nothing_is_written_through_a_link_of_the_archives_own(root: Path) -> None:
    """Links that stay inside, name by name, and lead out together: in there they lead nowhere."""
    file = backup(
        root.parent,
        member("a", kind=tarfile.DIRTYPE),
        member("a/b", kind=tarfile.SYMTYPE, link=".."),
        member("c", kind=tarfile.SYMTYPE, link="a/b/.."),
        member("c/outside/key"),
    )
    extract(root, file).move_in(STAMP)

    assert (root.parent / "outside/key").read_text() == SECRET
    assert [path.read_text() for path in root.rglob("key")] == ["new"]


def test_an_archive_larger_than_the_disk_is_refused_before_it_fills_it(root: Path) -> None:
    info, _ = member("holes")
    info.size = 1 << 60
    file = backup(root.parent)
    with tarfile.open(file.media, "w:gz") as archive:
        archive.fileobj.write(info.tobuf())  # type: ignore[union-attr]

    with pytest.raises(StepFailed, match="more than there is room for"):
        extract(root, file)


def test_a_sparse_file_is_refused(root: Path) -> None:
    info, _ = member("holes")
    info.size = 0
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50)}

    with pytest.raises(StepFailed, match="sparse"):
        extract(root, backup(root.parent, (info, b"")))


def test_too_many_names_are_refused() -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for number in range(5):
            archive.addfile(member(f"{number}", kind=tarfile.FIFOTYPE)[0])
    out.seek(0)

    with pytest.raises(confined.Refused, match="more than there is room for"):
        confined.unpack(out, confined.LeftOut(), size=1 << 30, files=4)


def test_a_header_that_wants_all_memory_is_refused(root: Path) -> None:
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = tarfile.XHDTYPE, 1 << 40
    file = backup(root.parent)
    with tarfile.open(file.media, "w:gz") as archive:
        archive.fileobj.write(info.tobuf())  # type: ignore[union-attr]

    with pytest.raises(StepFailed):
        extract(root, file)


@pytest.mark.parametrize("size", [0, 100])
def test_an_archive_that_is_not_whole_is_refused(root: Path, size: int) -> None:
    file = backup(root.parent, member("first"), (member("big")[0], b"new"))
    file.media.write_bytes(file.media.read_bytes()[:size])

    with pytest.raises(StepFailed):
        extract(root, file)

    assert [p.name for p in root.iterdir()] == ["photos"]


def test_a_link_in_the_place_of_the_directory_to_extract_to_is_no_way_out(root: Path) -> None:
    outside = root.parent / "outside"
    for name in (f".restoring-{STAMP}", f".before-{STAMP}", ".restoring-older"):
        (root / name).symlink_to(outside)

    aside = extract(root, backup(root.parent, member("first")))
    with pytest.raises(OpsError, match="only partly in their place"):
        aside.move_in(STAMP)

    assert [p.name for p in outside.iterdir()] == ["key"]
    aside.drop()


def test_what_the_site_makes_in_the_way_goes_to_the_old_ones(root: Path) -> None:
    file = backup(root.parent, member("photos"))
    aside = extract(root, file)
    old = media._new_directory(aside.root, f".before-{STAMP}")

    aside._move("photos", old)

    os.close(old)
    assert (root / "photos").read_text() == "new"
    assert (root / f".before-{STAMP}/photos.0/one.jpg").read_text() == "one"
    aside.drop()
