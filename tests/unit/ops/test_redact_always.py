"""What holds for every secret and every text."""

from __future__ import annotations

import base64
import html
import json
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.redact import HIDDEN, Redactor

TOKEN = "q7WmZt2LxR9vKc4NbY6hJd8sFg3pAe5u"
ENCODINGS: list[Callable[[str], str]] = [
    str,
    lambda s: quote(s, safe=""),
    quote_plus,
    lambda s: json.dumps(s)[1:-1],
    lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    lambda s: repr(s)[1:-1],
    html.escape,
    lambda s: s.encode().hex(),
    lambda s: "".join(f"\\u{ord(c):04X}" for c in s),
    lambda s: "\x1b[1m".join(s),
    lambda s: "\u200b".join(s),
    lambda s: quote(json.dumps(s)[1:-1], safe=""),
]
LETTERS = st.characters(min_codepoint=33, max_codepoint=0xFFFF, categories=("L", "N", "P", "S"))
SECRET = st.text(LETTERS, min_size=8, max_size=40).filter(
    lambda s: len(set(s)) > 4 and HIDDEN[0] not in s and not s.isalpha() and not s.isdecimal()
)


@given(SECRET, st.sampled_from(ENCODINGS), st.text(max_size=20), st.text(max_size=20))
def test_no_secret_survives_in_any_encoding_in_any_text(
    secret: str, encode: Callable[[str], str], before: str, after: str
) -> None:
    cleaned = Redactor.from_environment({"ANYTHING": secret}).clean(
        f"{before} {encode(secret)} {after}"
    )

    assert HIDDEN in cleaned
    assert secret not in cleaned.replace(before, "").replace(after, "")
    assert encode(secret) not in cleaned


@given(SECRET, st.binary(max_size=8), st.binary(max_size=8), st.booleans(), st.booleans())
def test_no_secret_survives_in_base64(
    secret: str, before: bytes, after: bytes, padded: bool, urlsafe: bool
) -> None:
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    written = encode(before + secret.encode() + after).decode()
    cleaned = Redactor.from_environment({"ANYTHING": secret}).clean(
        f"<{written if padded else written.rstrip('=')}>"
    )

    left = cleaned.strip("<>").split(HIDDEN)
    assert len(left) == 2
    # What is left is what stood beside it.
    assert len(left[0]) <= len(before) * 4 / 3 + 1
    assert len(left[1].rstrip("=")) <= len(after) * 4 / 3 + 1


@given(st.text(max_size=200))
def test_what_is_clean_stays_as_it_is(text: str) -> None:
    once = Redactor([TOKEN]).clean(text)

    assert Redactor([TOKEN]).clean(once) == once


@pytest.mark.parametrize(
    "text",
    [
        *("a.", "://", "\\u0041%41&#65;", TOKEN[:8], "Authorization: Basic ", "eyJ", "password="),
        *("-----BEGIN PRIVATE KEY-----\n", "-----END PRIVATE KEY-----\n", "\x1b]", "\x1b[", " "),
        *(
            "curl ",
            "secret_",
            "'",
            "%c3",
            "=\n",
            "correct horse b",
            "cookie:",
            "&amp;",
            "A",
            "QUFB",
        ),
        *("invalid interpolation format for x: ", "x-api-", "AAAA\n", "token: a"),
    ],
)
def test_sixteen_times_the_text_does_not_take_its_square(text: str) -> None:
    def seconds(size: int) -> float:
        begun = time.process_time()
        Redactor([TOKEN]).clean(text * (size // len(text)))
        return time.process_time() - begun

    # Of the square it would be 256 times as long.
    assert seconds(160_000) < 100 * max(seconds(10_000), 0.02)
