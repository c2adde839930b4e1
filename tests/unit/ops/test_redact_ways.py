"""The ways to write a secret, and what looks like one and is none."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from apps.ops.redact import HIDDEN, Redactor

PASSWORD = "p@ss/w&rd $5'\"ö\\x"
TOKEN = "q7WmZt2LxR9vKc4NbY6hJd8sFg3pAe5u"
SHORT = "tr0ub4"
WORDS = "correct horse battery staple"
KEY = """\
-----BEGIN RSA PRIVATE KEY-----
MIIEvQIBADANBgkqhkiG9w0BAQEFAASC
BKcwggSjAgEAAoIBAQC7
-----END RSA PRIVATE KEY-----"""
ENVIRONMENT = {
    "STRIPE_SK": "sk_live_" + TOKEN,
    "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
    "PIN_PW": SHORT,
    "WHATEVER": TOKEN,
    "MAILBOX": PASSWORD,
    "DOOR": WORDS,
    "DEPLOY_IDENTITY": KEY,
    "DATABASE_URL": "postgres://ada:s3cr3t%2Fpw@db.example.org:5432/site",
    "SERVICE_ACCOUNT": json.dumps({"type": "account", "inner": {"proof": "zx81-Spectrum-48k"}}),
    "OLD_ONES": "first-0ne-gone,second-0ne-gone",
}
CLEAN = Redactor.from_environment(ENVIRONMENT).clean


def b64(text: str, before: str = "", after: str = "") -> str:
    return base64.b64encode(f"{before}{text}{after}".encode()).decode()


def ways(secret: str) -> dict[str, str]:
    """Each with all of the secret in it."""
    middle = len(secret) // 2
    begin, end = secret[:middle], secret[middle:]
    coded = {
        "base64": b64(secret),
        "base64 behind one": b64(secret, "u", "v"),
        "base64 behind two": b64(secret, "u:", "vw"),
        "base64 behind many": b64(secret, "user:four", ", and more"),
        "base64 without padding": b64(secret, "u:").rstrip("="),
        "urlsafe base64": base64.urlsafe_b64encode(f"x:{secret}??>>".encode()).decode(),
        "wrapped base64": "\n".join(b64(secret)[at : at + 5] for at in range(0, 99, 5)),
    }
    return {
        "as it is": secret,
        "in a URL": quote(secret, safe=""),
        "in a URL, small": re.sub("%..", lambda m: m[0].lower(), quote(secret, safe="")),
        "in a form": quote_plus(secret),
        "every character of it in a URL": "".join(f"%{b:02x}" for b in secret.encode()),
        "in a URL in a URL": quote(quote(secret, safe=""), safe=""),
        "JSON": json.dumps({"a": secret}),
        "JSON in JSON": json.dumps(json.dumps({"a": secret})),
        "JSON with code points": "".join(f"\\u{ord(c):04x}" for c in secret),
        "JSON with slashes": secret.replace("\\", "\\\\").replace('"', '\\"').replace("/", "\\/"),
        "repr": repr(secret),
        "repr of bytes": repr(secret.encode()),
        "hexadecimal escapes": "".join(f"\\x{b:02X}" for b in secret.encode()),
        "octal escapes": "".join(f"\\{b:03o}" for b in secret.encode()),
        "HTML": html.escape(secret),
        "HTML with numbers": "".join(f"&#{ord(c)};" for c in secret),
        "HTML with hexadecimal numbers": "".join(f"&#x{ord(c):X};" for c in secret),
        "shell": shlex.quote(secret),
        "Compose": secret.replace("$", "$$"),
        "hexadecimal": secret.encode().hex(),
        "hexadecimal, large": secret.encode().hex().upper(),
        "NULs inside": "\0".join(secret),
        "a colour inside": f"{begin}\x1b[31m{end}",
        "a title inside": f"{begin}\x1b]0;x\x07{end}",
        "a C1 sequence inside": f"{begin}\x9b1m{end}",
        "a backspace inside": f"{begin}\b{end}",
        "a line break inside": f"{begin}\n{end}",
        "a carriage return inside": f"{begin}\r{end}",
        "a space without width inside": f"{begin}\u200b{end}",
        "a soft hyphen inside": f"{begin}\xad{end}",
        "turned round inside": f"{begin}\u202e{end}",
        "a selector behind each": "\ufe0f".join(secret),
        "a lone surrogate inside": f"{begin}\udc80{end}",
        "escaped control characters inside": f"{begin}\\u0000{end}",
        "shown control characters inside": f"{begin}\\x1b[0m{end}",
        **coded,
    }  # fmt: skip


SECRETS = {"token": TOKEN, "password": PASSWORD, "six characters": SHORT, "words": WORDS}


def is_told(secret: str, text: str) -> bool:
    """Five of its characters in a row, or what they are in base64, are there."""
    size = min(5, len(secret) - 1)
    parts = [secret[at : at + size] for at in range(len(secret) - size + 1)]
    return any(part in text for part in parts)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("way", ways(TOKEN))
def test_a_value_is_hidden_however_it_is_written(way: str, secret: str) -> None:
    written = ways(secret)[way]
    cleaned = CLEAN(f"The server said <{written}> and closed")

    assert HIDDEN in cleaned
    assert not is_told(secret, cleaned)
    assert cleaned.startswith("The server said <")
    assert cleaned.endswith("> and closed")
    kept = cleaned.removeprefix("The server said <").removesuffix("> and closed")
    left = kept.replace(HIDDEN, "").replace("\n", "")
    assert len(left) <= max(36, len(written) // 4), left


@pytest.mark.parametrize(
    "text",
    [
        f"{TOKEN[:8]}",
        f"{TOKEN[:12]} and more text",
        f"{TOKEN[:12]}…",
        f"{TOKEN[:12]}... (cut)",
        f"{TOKEN[:20]}and",
        f"…{TOKEN[-12:]}",
        f"ends in{TOKEN[-9:]}.",
        f"it has {TOKEN[8:20]} in it",
        f"{TOKEN[:16]}\n  | {TOKEN[16:]}",
        f"{b64(TOKEN)[:20]}...",
        f"{quote(PASSWORD, safe='')[:24]}... cut",
        f"{TOKEN.encode().hex()[:30]}…",
        "correct horse bat… and more",
        "…se battery staple",
    ],
)
def test_a_piece_of_a_value_is_hidden_wherever_it_stands(text: str) -> None:
    cleaned = CLEAN(text)

    assert HIDDEN in cleaned
    assert not is_told(TOKEN, cleaned)
    assert not is_told(WORDS, cleaned)


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("key sk_live_" + TOKEN, TOKEN),
        ("id AKIAIOSFODNN7EXAMPLE", "IOSFODNN7"),
        ("535 s3cr3t/pw is wrong", "s3cr3t"),
        ("535 s3cr3t%2Fpw is wrong", "s3cr3t"),
        ("proof zx81-Spectrum-48k", "Spectrum"),
        ("used second-0ne-gone", "second"),
        ("a line: MIIEvQIBADANBgkqhkiG9w0BAQEFAASC", "MIIEv"),
        ("a line: BKcwggSjAgEAAoIBAQC7", "BKcwgg"),
        (f"{{'pin': '{SHORT}'}}", SHORT),
    ],
)
def test_the_parts_of_a_value_are_known(text: str, secret: str) -> None:
    assert secret not in CLEAN(text)


INNOCENT = [
    "deployed 131138f1c5b0a4e2d3f4a5b6c7d8e9f001122334 in 12.3 s",
    "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "--hash=sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "changeover-django-a-1 is healthy",
    "Step 3/12 : RUN pip install --require-hashes -r requirements/base.txt",
    "/srv/site/docker/crontab, /var/lib/changeover/journal.jsonl",
    "https://www.example.org/health/ready answered 200",
    "postgres://postgres:5432/site and redis://redis:6379/0",
    "git@example.org:a/b.git, ada@example.org",
    'ALTER TABLE "home_page" ADD COLUMN "token" varchar(64) DEFAULT \'\' NOT NULL;',
    'ALTER TABLE "auth_user" ADD COLUMN "password" varchar(128) NOT NULL;',
    'UPDATE "a" SET "token" = "b"."token" FROM "b" WHERE "a"."id" = "b"."id";',
    'CREATE INDEX "a_secret_5f3a_like" ON "a" ("secret" varchar_pattern_ops);',
    "required variable POSTGRES_PASSWORD is missing a value: set it in .env",
    "POSTGRES_PASSWORD: ${POSTGRES_PASSWORD:?set it in .env}",
    "added STRIPE_SK; changed SECRET_KEY, EMAIL_URL",
    "The token is active, and may purge the zone example.org.",
    "Basic authentication failed; the token expired; no password was given",
    "SECRET_KEY= is empty, token=None, max_tokens=4096",
    "Next: openssl rand -base64 48   # in .env, as SECRET_KEY=…",
    "-----BEGIN CERTIFICATE-----",
    "static/home/site.5f3a2b1c9d8e.css",
    "0001_initial, 0002_add_token_and_secret",
    "é ü 中文 🎉 \u200d",
]


@pytest.mark.parametrize("text", INNOCENT)
def test_what_is_no_secret_is_shown(text: str) -> None:
    assert CLEAN(text) == text


COMMON = {
    "FLAG": "true",
    "COUNT": "1",
    "PORT": "443",
    "NAME": "site",
    "SIZE": "512m",
    "MODE": "live",
    "HOW": "main",
    "SECRET_COUNT": "30",
    "EMPTY": "",
    "TOKENS_ON": "true",
    "COMPOSE_PROJECT_NAME": "changeover-x",
    "COPY_OF_IT": "changeover-x",
}


def test_common_values_do_not_turn_all_output_into_stars() -> None:
    clean = Redactor.from_environment(COMMON).clean
    text = "true: 1 site of 443 is live on main, 512m, changeover-x, 30"

    assert clean(text) == text


def test_a_word_of_a_public_sounding_variable_is_hidden_where_it_stands_alone() -> None:
    clean = Redactor.from_environment({"DOOR_CODE": "fish", "HINT": "gopher"}).clean

    assert clean("fish and gopher") == f"{HIDDEN} and {HIDDEN}"
    assert clean("fishing for gophers, a-fish") == "fishing for gophers, a-fish"


def test_six_characters_of_a_variable_that_sounds_secret_are_hidden_within_words() -> None:
    assert Redactor.from_environment({"ADMIN_PW": "gopher"}).clean("xgopherx") == f"x{HIDDEN}x"


def test_a_project_names_its_own_public_variables() -> None:
    environment = {
        "OPS_PUBLIC_VARIABLES": "A, SHOP_NAME",
        "SHOP_NAME": "tr0ub4dor",
        "B": "hu5hhu5h",
    }

    assert (
        Redactor.from_environment(environment).clean("tr0ub4dor hu5hhu5h") == f"tr0ub4dor {HIDDEN}"
    )


def test_the_servers_dotenv_is_secret_unless_its_names_are_public(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        'SHOP=w1llow-tree\nSITE_HOST=www.example.org\nIDENTITY="line-0ne\nline-tw0"\nCUT=\'a$$b-c4d\n'
    )
    clean = Redactor.from_environment({"OPS_CHECKOUT": str(tmp_path)}).clean

    assert clean("w1llow-tree, www.example.org") == f"{HIDDEN}, www.example.org"
    assert clean("line-0ne, line-tw0, a$$b-c4d") == f"{HIDDEN}, {HIDDEN}, {HIDDEN}"
