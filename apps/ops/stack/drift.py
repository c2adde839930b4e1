"""What runs against what is declared, for the services that a deployment leaves alone.

Compose's own hash of a service would tell that something differs, and not what; and another version
of Compose has another hash.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from apps.ops.stack.service import variables

if TYPE_CHECKING:
    from apps.ops.stack.compose import Compose
    from apps.ops.stack.engine import Engine

# Beside the two colours and what follows a release.
LEFT_ALONE = ("caddy", "postgres", "redis", "media")


def of_services(compose: Compose, engine: Engine) -> dict[str, list[str]]:
    """In what each of these services that runs differs from its declaration; without those that do
    not.

    Raises:
        EngineAway, ProgramFailed.
    """
    found = {}
    for name in LEFT_ALONE:
        runs, declared = engine.attributes(name), compose.declared(name)
        if runs and declared:
            image = engine.id_of(declared["image"]) or ""
            if differs := differences(declared, runs, image=image):
                found[name] = differs
    return found


def how_to_apply(name: str) -> str:
    """The command that creates a service anew, and what that costs."""
    if name == "caddy":
        return "manage.py edge --recreate   # visitors wait for about a second"
    cost = {"postgres": "pages that need it fail meanwhile", "redis": "the cache is empty then"}
    command = f"docker compose up --detach --no-deps --no-build {name}"
    return f"{command}   # restarts it: {cost.get(name, 'uploads are away for a moment')}"


def differences(declared: Mapping[str, Any], runs: Mapping[str, Any], *, image: str) -> list[str]:
    """In what a container differs from its service, in words; variables by their names.

    Args:
        declared: the service, as `docker compose config --format json` has it.
        runs: the container, as Docker's API has it.
        image: the id that the declared image's name means now, "" when there is none.
    """
    config, host = runs["Config"], runs["HostConfig"]
    found = []
    if declared.get("image") != config["Image"]:
        found.append(f"image ({config['Image']} runs, {declared.get('image')} is declared)")
    elif image and image != runs["Image"]:
        found.append(f"image (an older one than {declared['image']} means now)")
    for key, name in (("entrypoint", "Entrypoint"), ("command", "Cmd")):
        if (wanted := declared.get(key)) and _unescaped(wanted) != config[name]:
            found.append(key)
    if (user := declared.get("user")) and user != config.get("User"):
        found.append("user")
    given = variables(config["Env"])
    wanted = declared.get("environment") or {}
    # A "$" is written twice.
    odd = sorted(n for n, v in wanted.items() if given.get(n) != str(v or "").replace("$$", "$"))
    if odd:
        found.append(f"environment ({', '.join(odd)})")
    if _declared_ports(declared) != _ports(host):
        found.append("ports")
    if _declared_volumes(declared) - _volumes(runs):
        found.append("volumes")
    if int(declared.get("mem_limit") or 0) != (host.get("Memory") or 0):
        found.append("memory limit")
    return found


def changed(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> list[str]:
    """In which keys a service's declaration differs between two releases; variables by their names.

    Args:
        before: as `docker compose config --format json` has it; None when there is no such service.
    """
    if before is None or after is None:
        return [] if before is after else ["new" if before is None else "taken out"]
    keys = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    return [_with_names(key, before, after) if key == "environment" else key for key in keys]


def _with_names(key: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    old, new = before.get(key) or {}, after.get(key) or {}
    names = sorted(n for n in old.keys() | new.keys() if old.get(n) != new.get(n))
    return f"{key} ({', '.join(names)})"


def _unescaped(words: list[str]) -> list[str]:
    return [word.replace("$$", "$") for word in words]


def _declared_ports(declared: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (port.get("host_ip", ""), str(port["published"]), f"{port['target']}/{port['protocol']}")
        for port in declared.get("ports") or ()
        if port.get("published")
    }


def _ports(host: Mapping[str, Any]) -> set[tuple[str, str, str]]:
    return {
        (binding["HostIp"], binding["HostPort"], target)
        for target, bindings in (host.get("PortBindings") or {}).items()
        for binding in bindings or ()
    }


def _declared_volumes(declared: Mapping[str, Any]) -> set[tuple[str, str, bool]]:
    return {
        (volume["type"], volume["target"], not volume.get("read_only", False))
        for volume in declared.get("volumes") or ()
    }


def _volumes(runs: Mapping[str, Any]) -> set[tuple[str, str, bool]]:
    return {(mount["Type"], mount["Destination"], mount["RW"]) for mount in runs["Mounts"]}
