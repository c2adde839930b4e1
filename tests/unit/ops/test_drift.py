from __future__ import annotations

from typing import Any

import pytest

from apps.ops.stack.drift import changed, differences

IMAGE = "sha256:0123"


def declared(**changes: Any) -> dict[str, Any]:
    """As `docker compose config --format json` has a service."""
    return {
        "image": "caddy:2",
        "command": ["caddy", "run", "--adapter", "caddyfile"],
        "user": "10002:10002",
        "environment": {"SITE_HOST": "example.org", "PRICE": "5$$"},
        "mem_limit": "536870912",
        "ports": [
            {
                "mode": "ingress",
                "host_ip": "127.0.0.1",
                "target": 80,
                "published": "80",
                "protocol": "tcp",
            }
        ],
        "volumes": [
            {
                "type": "bind",
                "source": "/srv/site/caddy",
                "target": "/etc/caddy",
                "read_only": True,
            },
            {"type": "volume", "source": "data", "target": "/data", "volume": {}},
        ],
    } | changes


# As Docker's API has the container that is made of it.
RUNS: dict[str, Any] = {
    "Image": IMAGE,
    "Config": {
        "Image": "caddy:2",
        "Cmd": ["caddy", "run", "--adapter", "caddyfile"],
        "Entrypoint": None,
        "User": "10002:10002",
        "Env": ["SITE_HOST=example.org", "PRICE=5$", "PATH=/usr/bin"],
    },
    "HostConfig": {
        "Memory": 536870912,
        "PortBindings": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "80"}]},
    },
    "Mounts": [
        {"Type": "bind", "Destination": "/etc/caddy", "RW": False},
        {"Type": "volume", "Destination": "/data", "RW": True},
        # The image's own.
        {"Type": "volume", "Destination": "/var/log", "RW": True},
    ],
}


def test_a_container_that_is_as_it_is_declared_does_not_differ() -> None:
    assert differences(declared(), RUNS, image=IMAGE) == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"image": "caddy:3"}, "image (caddy:2 runs, caddy:3 is declared)"),
        ({"command": ["caddy", "run"]}, "command"),
        ({"entrypoint": ["sh"]}, "entrypoint"),
        ({"user": "0:0"}, "user"),
        (
            {"environment": {"SITE_HOST": "other.example", "NEW": "1"}},
            "environment (NEW, SITE_HOST)",
        ),
        ({"ports": []}, "ports"),
        ({"mem_limit": "1"}, "memory limit"),
        ({"volumes": [{"type": "volume", "target": "/more"}]}, "volumes"),
        ({"volumes": [{"type": "bind", "target": "/etc/caddy"}]}, "volumes"),
    ],
)
def test_what_differs_is_named_and_values_are_not(changes: dict[str, Any], said: str) -> None:
    assert differences(declared(**changes), RUNS, image=IMAGE) == [said]


def test_a_container_of_an_image_that_its_name_does_not_mean_any_more_differs() -> None:
    assert differences(declared(), RUNS, image="sha256:4567") == [
        "image (an older one than caddy:2 means now)"
    ]


def test_what_a_release_changes_in_a_service_is_told_by_its_keys() -> None:
    after = declared(mem_limit="1", environment={"SITE_HOST": "other.example", "PRICE": "5$$"})

    assert changed(declared(), after) == ["environment (SITE_HOST)", "mem_limit"]
    assert changed(declared(), declared()) == changed(None, None) == []
    assert (changed(None, after), changed(after, None)) == (["new"], ["taken out"])
