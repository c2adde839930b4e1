from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.redact import HIDDEN, RedactingFormatter, Redactor, first_line

secret = st.text(
    st.characters(codec="utf-8", exclude_characters=HIDDEN + "\n"), min_size=6, max_size=12
)


def test_a_secrets_value_is_hidden_wherever_it_stands() -> None:
    redactor = Redactor.from_environment({"POSTGRES_PASSWORD": "tr0ub4dor"})

    assert redactor.clean("x=tr0ub4dor;y=tr0ub4dor") == f"x={HIDDEN};y={HIDDEN}"


@pytest.mark.parametrize("name", ["POSTGRES_HOST", "OPS_REMOTE", "PYTHONPATH", "SITE_HOST_FILE"])
def test_a_public_variables_value_is_shown(name: str) -> None:
    assert Redactor.from_environment({name: "tr0ub4dor"}).clean("tr0ub4dor") == "tr0ub4dor"


def test_a_short_value_is_hidden_where_it_stands_alone() -> None:
    redactor = Redactor(["shor1", "longer"])

    assert redactor.clean("shor1, shor1er, longer") == f"{HIDDEN}, shor1er, {HIDDEN}"


def test_nothing_to_hide_leaves_the_text_as_it_is() -> None:
    assert Redactor([]).clean("nothing") == "nothing"


def test_a_value_that_contains_another_is_hidden_whole() -> None:
    assert Redactor(["secret", "secret-and-more"]).clean("secret-and-more") == HIDDEN


def test_values_that_overlap_leave_nothing_of_either() -> None:
    assert Redactor(["abcdef", "defghi"]).clean("<abcdefghi>") == f"<{HIDDEN}>"


def test_a_value_is_text_and_no_pattern() -> None:
    assert Redactor([r"a.c*d+\d"]).clean(r"aXcd a.c*d+\d") == f"aXcd {HIDDEN}"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("postgres://site:pw@db:5432/site", f"postgres://{HIDDEN}@db:5432/site"),
        (
            "git clone https://x-token@example.org/a.git",
            f"git clone https://{HIDDEN}@example.org/a.git",
        ),
        ("redis://:pw@redis/0", f"redis://{HIDDEN}@redis/0"),
        ("git+ssh://git@example.org", f"git+ssh://{HIDDEN}@example.org"),
        ("https://example.org/@someone", "https://example.org/@someone"),
        ("git@example.org:a/b.git", "git@example.org:a/b.git"),
        ("ada@example.org", "ada@example.org"),
    ],
)
def test_an_address_loses_its_user_and_password(text: str, cleaned: str) -> None:
    assert Redactor([]).clean(text) == cleaned


def test_an_addresss_password_may_have_an_at_sign() -> None:
    assert Redactor([]).clean("redis://:p@ss@redis/0") == f"redis://{HIDDEN}@redis/0"


def test_each_of_several_keys_in_one_variable_is_hidden() -> None:
    redactor = Redactor.from_environment({"SECRET_KEY_FALLBACKS": "older-key,oldest-key"})

    assert redactor.clean("used oldest-key") == f"used {HIDDEN}"


def test_each_line_of_a_key_of_several_lines_is_hidden() -> None:
    redactor = Redactor.from_environment({"DEPLOY_KEY": "-----BEGIN-----\nMIIEvQ\n-----END-----"})

    assert redactor.clean("MIIEvQ") == HIDDEN


def test_a_secret_from_a_file_is_hidden_too(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("tr0ub4dor\n")
    redactor = Redactor.from_environment(
        {"POSTGRES_PASSWORD_FILE": str(tmp_path / "password"), "SECRET_KEY_FILE": "/not/there"}
    )

    assert redactor.clean("tr0ub4dor") == HIDDEN


@given(st.lists(secret, min_size=1, max_size=4), st.lists(st.text(max_size=4), max_size=5))
def test_no_value_survives_whatever_it_is_and_stands_between(
    values: list[str], noise: list[str]
) -> None:
    redactor = Redactor(values)
    text = "".join(value + between for value in values for between in ["", *noise])

    cleaned = redactor.clean(text)

    assert not [value for value in values if value in cleaned]


SPECIAL = "p@ss/w&rd $5'\"ö\\x"


@pytest.mark.parametrize(
    "text",
    [
        # In an address, as it is and as it should be written there.
        f"postgres://site:{SPECIAL}@postgres:5432/site",
        f"could not connect to postgres://site:{quote(SPECIAL, safe='')}@postgres:5432/site",
        f"password={quote_plus(SPECIAL)}&user=site",
        f"password={quote(SPECIAL, safe='').lower()}",
        # As programs write text.
        json.dumps({"password": SPECIAL}),
        json.dumps({"password": SPECIAL}, ensure_ascii=False),
        repr(SPECIAL),
        # As Compose shows it.
        f"POSTGRES_PASSWORD: {SPECIAL.replace('$', '$$')}",
    ],
)
def test_a_password_is_hidden_however_it_is_written(text: str) -> None:
    cleaned = Redactor.from_environment({"POSTGRES_PASSWORD": SPECIAL}).clean(text)

    assert HIDDEN in cleaned
    assert "w" not in cleaned.replace("password", "").replace("PASSWORD", "").replace("with", "")
    assert "rd" not in cleaned.replace("password", "")


@pytest.mark.parametrize("name", ["EMAIL_URL", "DATABASE_URL", "REDIS_URL"])
def test_the_password_of_an_address_is_hidden_also_on_its_own(name: str) -> None:
    redactor = Redactor.from_environment({name: "smtp+tls://ada:p%40ssword@mail.example.org:587"})

    assert redactor.clean("535 p@ssword is wrong") == f"535 {HIDDEN} is wrong"
    assert redactor.clean("535 p%40ssword is wrong") == f"535 {HIDDEN} is wrong"
    assert redactor.clean("ada at mail.example.org") == "ada at mail.example.org"


def test_a_webhooks_path_is_as_secret_as_its_address() -> None:
    redactor = Redactor.from_environment(
        {"OPS_NOTIFY_SLACK": "https://hooks.example.org/services/T0/B0/XYZ, https://two.example/ab"}
    )

    said = "Max retries exceeded with url: /services/T0/B0/XYZ"
    assert redactor.clean(said) == f"Max retries exceeded with url: {HIDDEN}"
    assert redactor.clean("two.example is down") == "two.example is down"


TOKEN = "q7WmZt2LxR9vKc4NbY6hJd8sFg3pAe5u"


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        # Wrapped, with what a program puts around it.
        (f"it is {TOKEN[:17]}\n{TOKEN[17:]}.", f"it is {HIDDEN}\n{HIDDEN}."),
        (f"  | {TOKEN[:12]}\n  {TOKEN[12:]} it is", f"  | {HIDDEN}\n  {HIDDEN} it is"),
        (f"a\n{TOKEN[8:20]}\nb", f"a\n{HIDDEN}\nb"),
        # Cut.
        (f"it is {TOKEN[:20]}…", f"it is {HIDDEN}…"),
        (f"it is ({TOKEN[:20]})", f"it is ({HIDDEN})"),
        (f"{TOKEN[-11:]} it is", f"{HIDDEN} it is"),
        (f"it is {TOKEN[:12]} and more", f"it is {HIDDEN} and more"),
        # What only begins alike.
        (f"it is {TOKEN[:7]}", f"it is {TOKEN[:7]}"),
    ],
)
def test_what_is_left_of_a_value_where_a_line_was_cut_is_hidden(text: str, cleaned: str) -> None:
    assert Redactor([TOKEN]).clean(text) == cleaned


def test_the_servers_dotenv_may_be_newer_than_the_process(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "POSTGRES_PASSWORD=the-new-one\nSITE_HOST=www.example.org\n"
        'MIIEvQIBADANBg+kqhkiG\nDEPLOY_KEY="never ended\n'
    )
    redactor = Redactor.from_environment(
        {"OPS_CHECKOUT": str(tmp_path), "POSTGRES_PASSWORD": "the-old-one"}
    )

    said = "the-old-one, the-new-one of www.example.org, MIIEvQIBADANBg+kqhkiG: never ended"
    assert redactor.clean(said) == f"{HIDDEN}, {HIDDEN} of www.example.org, {HIDDEN}: {HIDDEN}"


def test_everything_in_a_json_value_is_cleaned() -> None:
    value = {"sql": ["ALTER USER site PASSWORD 'tr0ub4dor'"], "rows": 3, "name": None}

    assert Redactor(["tr0ub4dor"]).clean_all(value) == {
        "sql": [f"ALTER USER site PASSWORD '{HIDDEN}'"],
        "rows": 3,
        "name": None,
    }


def test_what_is_logged_has_no_secret_its_traceback_neither(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "tr0ub4dor")
    formatter = RedactingFormatter("%(message)s")
    try:
        raise RuntimeError("tr0ub4dor was refused")
    except RuntimeError:
        record = logging.LogRecord(
            "site", logging.ERROR, "", 0, "with %s", ("tr0ub4dor",), sys.exc_info()
        )

    text = formatter.format(record)

    assert text.startswith(f"with {HIDDEN}\n  Traceback")
    assert text.endswith(f"RuntimeError: {HIDDEN} was refused")


def test_a_commands_traceback_has_no_secret() -> None:
    code = "raise RuntimeError('postgres' + '://site:' + 'tr0ub4dor' + '@db, ' + 'tr0ub4dor')"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", code],
        env={**os.environ, "POSTGRES_PASSWORD": "tr0ub4dor"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("Traceback (most recent call last):\n")
    assert done.stderr.endswith(f"RuntimeError: postgres://{HIDDEN}@db, {HIDDEN}\n")
    assert "tr0ub4dor" not in done.stdout + done.stderr


def test_an_errors_first_line_is_cleaned_before_it_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", TOKEN)
    said = first_line(RuntimeError(f"{'x' * 190} {TOKEN} it was\nand more"))

    assert said == f"{'x' * 190} {HIDDEN} it wa"
    assert first_line(ValueError()) == "ValueError"


def test_the_host_of_a_secret_address_is_no_secret() -> None:
    secrets = {
        "OPS_PING_URL": "https://www.example.org/health",
        "OPS_NOTIFY_WEBHOOKS": "https://hooks.example.org/services/T0123/B0123/abcdef",
    }
    clean = Redactor.from_environment(secrets).clean

    for text in ("see https://www.example.org", "GET /healthz 200", "https://hooks.example.org/"):
        assert clean(text) == text
    assert "abcdef" not in clean("POST /services/T0123/B0123/abcdef failed")
    assert "T0123" not in clean("https://hooks.example.org/services/T0123/B0")


@pytest.mark.parametrize(
    "text", ["a." * 500_000, "://" * 300_000, "invalid interpolation format for x: " * 30_000]
)
def test_no_line_takes_for_ever(text: str) -> None:
    assert Redactor([]).clean(text) == text
