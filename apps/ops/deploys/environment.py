"""What a release asks of `.env`, by name; values are never looked at beyond being there."""

from __future__ import annotations

from apps.ops.dotenv import parse, read_example
from apps.ops.source import Checkout


def missing_variables(checkout: Checkout, release: str) -> list[str]:
    """Variables that the release's `.env.example` requires (nothing after the "=") and `.env`
    does not set."""
    example = read_example(checkout.file(release, ".env.example") or "")
    dotenv = checkout.path / ".env"
    return example.missing(parse(dotenv.read_text() if dotenv.exists() else ""))
