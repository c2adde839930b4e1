from __future__ import annotations

import pytest

from apps.ops.deploys.plan import migration_files


def test_a_migration_is_named_after_its_folder_and_file() -> None:
    files = ["apps/home/migrations/0002_more.py", "ops/migrations/0001_history.py", "manage.py"]

    assert migration_files(files) == [("home", "0002_more"), ("ops", "0001_history")]


@pytest.mark.parametrize(
    "file",
    [
        "apps/home/migrations/__init__.py",
        "apps/home/migrations/0002_more.sql",
        "migrations/0001_top.py",
        "docs/migrations/how-to.md",
    ],
)
def test_other_files_are_no_migrations(file: str) -> None:
    assert migration_files([file]) == []


@pytest.mark.parametrize(
    ("file", "found"),
    [
        ("apps/home/migrations/0002_more.py.orig", []),
        ("apps/home/migrations/0002_more.pyi", []),
        ("apps/home/migrations/backfill.py", [("home", "backfill")]),
        ("apps/home/migrations/10000_many.py", [("home", "10000_many")]),
    ],
)
def test_what_django_takes_for_a_migration_is_one(file: str, found: list[tuple[str, str]]) -> None:
    assert migration_files([file]) == found
