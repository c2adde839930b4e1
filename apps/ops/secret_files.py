"""Secrets in files, on volumes that only the right services mount. Read by the settings, so nothing
of Django in here.

A service that is given `NAME_FILE=/run/secrets/web/NAME` reads NAME from there. That line in the
compose file is all that tells it: a deployment writes the file from `.env`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from pathlib import Path

from apps.ops import durable
from apps.ops.errors import StepFailed

# Of whoever runs web and worker in the image (Dockerfile).
APP = 10001
DIRECTORY = Path("/run/secrets")
SUFFIX = "_FILE"


def forget_unwritten(environment: MutableMapping[str, str]) -> None:
    """Let a variable itself count where its file was not written: it has no value, or a release
    from before the files passes it."""
    for name, path in _named(environment).items():
        if not path.exists():
            del environment[name + SUFFIX]


def write_all(given: Mapping[str, str], values: Mapping[str, str], *, directory: Path) -> list[str]:
    """Make the files what `.env` says now; one without a value goes.

    Args:
        given: a service's environment, as the compose file declares it.
        values: by name.
        directory: where the services' directories of secrets are mounted here. Nothing is written
            where they are not.

    Returns:
        The names whose values changed.

    Raises:
        StepFailed: a file cannot be written.
    """
    changed = []
    for name, path in sorted(_named(given).items()):
        file = mounted(path, directory=directory)
        if not file.parent.is_dir():
            continue
        value = values.get(name, "")
        if value == read(file):
            continue
        changed.append(name)
        if value:
            write(file, value, reader=APP)
        else:
            file.unlink()
    return changed


def in_place_of_files(
    given: Mapping[str, str], value_of: Callable[[str, Path], str]
) -> dict[str, str]:
    """An environment with each NAME_FILE replaced by NAME and its value, where it has one.

    Args:
        value_of: is asked with a name and its file, as the service sees it.
    """
    named = _named(given)
    plain = {name: v for name, v in given.items() if name.removesuffix(SUFFIX) not in named}
    found = ((name, value_of(name, path) or given.get(name, "")) for name, path in named.items())
    return plain | {name: value for name, value in found if value}


def mounted(path: Path, *, directory: Path) -> Path:
    """Where a file that a service sees at this path is in here."""
    return directory / path.relative_to(DIRECTORY)


def read(path: Path) -> str:
    """ "" when there is no such file."""
    try:
        return path.read_text()
    except OSError:
        return ""


def write(path: Path, secret: str, *, reader: int) -> None:
    """A file that one user may read, whole or not there; it is on the disk when this returns.

    Raises:
        StepFailed: it cannot be written.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        with suppress(FileNotFoundError):
            new.unlink()
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "w") as file:
            if os.geteuid() == 0:
                os.fchown(descriptor, reader, reader)
            file.write(secret)
            file.flush()
            os.fsync(descriptor)
        new.rename(path)
        durable.sync(path.parent)
    except OSError as error:
        raise StepFailed(
            f"A secret could not be written to {path} ({error}).", next="df -h   # make room"
        ) from error


def _named(environment: Mapping[str, str]) -> dict[str, Path]:
    """The files that a deployment writes, by the names of what is in them."""
    return {
        name.removesuffix(SUFFIX): Path(path)
        for name, path in environment.items()
        if name.endswith(SUFFIX) and Path(path).is_relative_to(DIRECTORY)
    }
