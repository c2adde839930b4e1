from __future__ import annotations

import json

import pytest

from apps.ops.stack.build import base_images
from apps.ops.stack.inventory import Inventory, changes, cyclonedx
from apps.ops.updates import security_updates

DEBIAN_13 = {"ID": "debian", "VERSION_ID": "13"}
OLD = Inventory(
    "2026-01-02T03:04:05+00:00",
    DEBIAN_13,
    deb={"openssl": "3.5.1-1", "gone": "1", "g++": "4:14"},
    pypi={"django": "5.2.1"},
)
NEW = Inventory(
    "2026-02-02T03:04:05+00:00",
    DEBIAN_13,
    deb={"openssl": "3.5.4-1", "come": "2", "g++": "4:14"},
    pypi={"django": "5.2.2"},
)


def test_what_changed_is_said_a_line_a_package() -> None:
    assert changes(OLD, NEW) == [
        "come 2 (new)",
        "django 5.2.1 → 5.2.2",
        "gone 1 (gone)",
        "openssl 3.5.1-1 → 3.5.4-1",
    ]
    assert changes(NEW, NEW) == []


def test_an_inventory_goes_through_the_journal_and_comes_back() -> None:
    assert Inventory.of(json.loads(json.dumps(OLD.as_record()))) == OLD


@pytest.mark.parametrize("record", [{}, {"made_at": "x"}, [], {"made_at": 1, "system": 3}, "x"])
def test_what_is_no_inventory_is_refused(record: object) -> None:
    with pytest.raises(ValueError, match="no inventory"):
        Inventory.of(record)  # type: ignore[arg-type]


def test_a_bill_of_materials_names_each_package_by_its_address() -> None:
    bill = cyclonedx(OLD, name="site", version="b" * 40)

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["version"] == "b" * 40
    addresses = {part["name"]: part["purl"] for part in bill["components"]}
    assert addresses == {
        "openssl": "pkg:deb/debian/openssl@3.5.1-1?distro=debian-13",
        "gone": "pkg:deb/debian/gone@1?distro=debian-13",
        "g++": "pkg:deb/debian/g%2B%2B@4%3A14?distro=debian-13",
        "django": "pkg:pypi/django@5.2.1",
    }
    assert bill["serialNumber"] == cyclonedx(OLD, name="site", version="b" * 40)["serialNumber"]


DOCKERFILE = """\
# syntax=docker/dockerfile:1
FROM --platform=linux/amd64 python:3.13-slim AS base
RUN echo "FROM nowhere"
FROM base AS app
COPY --chown=app --from=node:22 /usr/bin/node /usr/bin/node
from app as utility
COPY --from=app /app /app
FROM ${OTHER} AS other
FROM base AS test
COPY --from=caddy:2 /usr/bin/caddy /usr/bin/caddy
"""


def test_only_what_the_targets_stand_on_is_pulled() -> None:
    assert set(base_images(DOCKERFILE, ["utility"])) == {"python:3.13-slim", "node:22"}
    assert set(base_images(DOCKERFILE, ["test"])) == {"python:3.13-slim", "caddy:2"}
    assert base_images(DOCKERFILE, ["other"]) == []
    assert base_images("FROM debian:13\n", ["0"]) == ["debian:13"]


def test_of_a_simulated_upgrade_only_security_updates_count() -> None:
    said = """\
Reading package lists...
Inst openssl [3.5.1-1] (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
Inst libc6 [2.36] (2.37 Ubuntu:24.04/noble-updates, Ubuntu:24.04/noble-security [amd64]) []
Inst tzdata [2025a] (2025b Debian:13.1/stable [all])
Inst brand-new (1 Debian-Security:13/stable-security [all])
Conf openssl (3.5.1-1+deb13u1 Debian-Security:13/stable-security [amd64])
"""
    assert list(security_updates(said)) == [
        "openssl 3.5.1-1 → 3.5.1-1+deb13u1",
        "libc6 2.36 → 2.37",
    ]
