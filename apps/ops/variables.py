"""The environment as the settings read it: each variable declared once, with its name, its default,
what it must be, and whether it may be shown.

A value that cannot be read never ends in a traceback and is never shown. Its variable is named, and
the process does not start; an ops command does, with the default, and says so: whoever has to go
back must not be stopped by a slip in `.env`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import field, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import environ
from django.core.exceptions import ImproperlyConfigured
from environ.fileaware_mapping import FileAwareMapping

from apps.ops import kinds
from apps.ops.dotenv import of_file
from apps.ops.errors import Refused
from apps.ops.kinds import Kind

# A secret is shorter; a device has no end.
LARGEST_FILE = 1_000_000
DEFAULT_COUNTS = "Until .env is fixed its default counts here."


def variable(
    name: str, default: Any, kind: Kind[Any] | None = None, *, public: bool | None = None
) -> Any:
    """A field of a `Declared` class that is read from an environment variable.

    Args:
        kind: what it must be; else the default's type tells.
        public: whether its value may be shown. A text's may not unless it is said here.
    """
    kind = kind or kinds.of(name, default)
    is_public = kind.is_open if public is None else public
    metadata = {"env": name, "kind": kind, "public": is_public}
    # In a traceback, or on a debug page, the object itself shows no secret.
    return field(default=default, repr=is_public, metadata=metadata)


class Environment(environ.FileAwareEnv):  # type: ignore[misc]  # It has no types.
    """Reads variables, and collects the sentences about those that cannot be read.

    `NAME_FILE=/path` reads NAME from a file (Docker secrets). An empty variable is one that is not
    set. A project's own variables can be read with all that django-environ has: `env.list(…)`.
    """

    # Set by manage.py before the settings are loaded, for ops commands.
    only_collects: ClassVar[bool] = False

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__()
        self.ENVIRON = FileAwareMapping(given)
        self._given = given
        self.wrong: list[str] = []

    def __call__[T](self, name: str, default: T, kind: Kind[T] | None = None) -> T:
        """The variable's value, of the default's type or of a kind."""
        kind = kind or kinds.of(name, default)
        try:
            raw = self._raw(name)
            return kind.read(raw) if raw else default
        except _Unreadable as error:
            self.wrong.append(f"{name}_FILE must name a file that can be read here: {error}.")
        except ValueError:
            self.wrong.append(f"{name} must be {kind.must_be}.")
        return default

    def get_value(
        self,
        var: str,
        cast: Any = None,
        default: Any = environ.Env.NOTSET,
        parse_default: bool = False,
    ) -> Any:
        """As django-environ's, whose errors can have the value in them."""
        try:
            return super().get_value(var, cast, default, parse_default)
        except (ValueError, TypeError, KeyError, OSError) as error:
            kind = getattr(cast, "__name__", None) or "what the settings want"
            found = f"{var} cannot be read as {kind} ({type(error).__name__})."
        if default is environ.Env.NOTSET:
            raise ImproperlyConfigured(found) from None
        self.wrong.append(found)
        return default

    def require_right(self) -> tuple[str, ...]:
        """What is wrong, where it is only collected: in ops commands.

        Raises:
            ImproperlyConfigured: in any other process.
        """
        if self.wrong and not self.only_collects:
            raise ImproperlyConfigured("\n".join(self.wrong))
        return tuple(self.wrong)

    def _raw(self, name: str) -> str:
        path = self._given.get(f"{name}_FILE")
        return (_content(path) if path else self._given.get(name, "")).strip()


class Declared:
    """The base of frozen dataclasses whose fields are variables."""

    __slots__ = ()

    @classmethod
    def from_env(cls, env: Environment) -> Self:
        """Read every field's variable; what cannot be read has its default."""
        declared = fields(cls)  # type: ignore[arg-type]
        return cls(
            **{f.name: env(f.metadata["env"], f.default, f.metadata["kind"]) for f in declared}
        )

    @classmethod
    def variables(cls) -> Mapping[str, object]:
        """Each environment variable that is read, with its default."""
        return {f.metadata["env"]: f.default for f in fields(cls)}  # type: ignore[arg-type]

    @classmethod
    def public(cls) -> frozenset[str]:
        """The variables whose values may be shown."""
        declared = fields(cls)  # type: ignore[arg-type]
        return frozenset(f.metadata["env"] for f in declared if f.metadata["public"])


def read_dotenv(path: Path, into: MutableMapping[str, str]) -> None:
    """Set what a `.env` file says and what is not set yet. For a process that Compose has not
    started: a laptop's. What Compose could not read of it is left out."""
    for name, value in of_file(path, into).values.items():
        with suppress(ValueError):  # An environment holds no NUL.
            into.setdefault(name, value)


def wrong_variables() -> tuple[str, ...]:
    """A sentence for each that could not be read when this process began."""
    from django.conf import settings

    # A project's settings of before have no such line, and had raised.
    return getattr(settings, "WRONG_VARIABLES", ())


def require_right_variables(*, again: str) -> None:
    """For what must not begin on a default that nobody asked for.

    Args:
        again: the command to type when `.env` is fixed.

    Raises:
        Refused: a variable could not be read when this process began.
    """
    if wrong := wrong_variables():
        raise Refused(" ".join(wrong), next=f"fix it in .env (docs/settings.md), then: {again}")


class _Unreadable(Exception):
    """Its text says why, without the path: it could be a value in the wrong place."""


def _content(path: str) -> str:
    try:
        file = Path(path)
        if file.exists() and not file.is_file():
            raise _Unreadable("it is none")
        with file.open(encoding="utf-8") as opened:
            text = opened.read(LARGEST_FILE + 1)
    except UnicodeDecodeError:
        raise _Unreadable("it is not UTF-8") from None
    except OSError as error:
        raise _Unreadable((error.strerror or "no").lower()) from None
    if len(text) > LARGEST_FILE:
        raise _Unreadable("it is too large")
    return text
