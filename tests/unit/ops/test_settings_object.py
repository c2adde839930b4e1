from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from hypothesis import given
from hypothesis import strategies as st

from apps.ops.conf import OpsSettings
from apps.ops.site_conf import SiteSettings
from apps.ops.variables import Declared, Environment

FIELDS = {
    field.metadata["env"]: (declared, field.name, field.default)
    for declared in (OpsSettings, SiteSettings)
    for field in fields(declared)
}
NUMBERS = {name: FIELDS[name] for name in FIELDS if type(FIELDS[name][2]) in (int, float)}
# Where another text than "something" is wanted.
RIGHT = {
    "SITE_SCHEME": "http",
    "TIME_ZONE": "Europe/Berlin",
    "LOG_LEVEL": "ERROR",
    "REDIS_URL": "rediss://:pw@cache:6380/1",
    "EMAIL_URL": "smtp+tls://ops%40example.org:p%23ss@mail.example.org:587",
    "DEFAULT_FROM_EMAIL": '"Ops" <ops@example.org>',
    "OPS_REQUIRE_SIGNED": "tags",
    "OPS_PROBE_ADDRESS": "127.0.0.1:2020",
    "OPS_CLOUDFLARE_API": "https://api.example.org/v4",
    "OPS_PING_URL": "https://ping.example.org/@team/1?a=b",
    "OPS_NOTIFY_WEBHOOKS": "https://hooks.example.org/x",
    "OPS_NOTIFY_SLACK": "https://hooks.example.org/x",
    "OPS_NOTIFY_EMAILS": "ops@example.org",
    "OPS_SMOKE_PATHS": "/about/",
    "OPS_PURGE_PATHS": "/about/",
    "CSRF_TRUSTED_ORIGINS": "https://app.example.org:8443",
}


def read[T: Declared](declared: type[T], **variables: str) -> T:
    env = Environment(variables)
    settings = declared.from_env(env)
    assert env.wrong == []
    return settings


def wrong(declared: type[Declared], **variables: str) -> list[str]:
    env = Environment(variables)
    assert declared.from_env(env) == declared()
    return env.wrong


def another(variable: str, default: Any) -> tuple[str, Any]:
    """What somebody could write who wants something else than the default, and what that means."""
    if variable in RIGHT:
        meant = RIGHT[variable]
        return meant, (meant,) if isinstance(default, tuple) else meant
    match default:
        case bool():
            return str(not default).lower(), not default
        case int() | float():
            return f" {default + 1:g} ", default + 1
        case tuple():
            return "one", ("one",)
        case Path():
            return "/somewhere/else", Path("/somewhere/else")
        case None:
            return ("0", 0) if variable.endswith("_SECONDS") else ("no", False)
    return "something", "something"


@pytest.mark.parametrize("declared", [OpsSettings, SiteSettings])
def test_nothing_set_gives_every_default(declared: type[Declared]) -> None:
    assert read(declared) == declared()


@pytest.mark.parametrize("variable", FIELDS)
def test_each_field_is_read_from_its_variable_and_no_other(variable: str) -> None:
    declared, name, default = FIELDS[variable]
    written, meant = another(variable, default)

    settings = read(declared, **{variable: written})

    assert getattr(settings, name) == meant
    assert type(getattr(settings, name)) is type(meant)
    others = [f.name for f in fields(declared) if getattr(settings, f.name) != f.default]
    assert others == [name]
    assert read(declared, **{variable: " "}) == declared()


def test_variables_lists_every_field_with_its_default() -> None:
    listed = OpsSettings.variables() | SiteSettings.variables()

    assert listed == {variable: default for variable, (_, _, default) in FIELDS.items()}


def test_an_object_does_not_show_its_secrets() -> None:
    site = read(SiteSettings, SECRET_KEY="hidden-one", EMAIL_URL="smtp://u:hidden-two@h")

    assert "hidden" not in repr(site)
    assert "time_zone='UTC'" in repr(site)


def test_a_value_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "branch").write_text("production\n")

    assert read(OpsSettings, OPS_BRANCH_FILE=str(tmp_path / "branch")).branch == "production"


def test_lists_are_separated_as_compose_and_people_do() -> None:
    settings = read(OpsSettings, COMPOSE_FILE="a.yml:b.yml", OPS_SMOKE_PATHS="/, /about/,,/a:b")

    assert settings.compose_files == ("a.yml", "b.yml")
    assert settings.smoke_paths == ("/", "/about/", "/a:b")


@pytest.mark.parametrize(
    ("written", "meant"),
    [("true", True), ("YES", True), ("On", True), ("1", True)]
    + [("false", False), ("No", False), ("off", False), ("0", False)],
)
def test_yes_and_no_have_several_words(written: str, meant: bool) -> None:
    assert read(OpsSettings, OPS_KEEP_STANDBY=written).keep_standby is meant


ENCODED = "python3 -c 'from urllib.parse import quote; print(quote(input(), safe=\"\"))'"
ADDRESSES = (
    "smtp+tls://ops@example.org:pass#word@mail.example.org:587",
    "smtp+tls://ops:p@ss?w@mail.example.org",
    "smtp://ops:pa/word@mail.example.org",
    "smtp://ops:pa word@mail.example.org",
    "smtp://ops:100%word@mail.example.org",
    "smtp://ops:pa%FFword@mail.example.org",
    "smtp://ops:password@mail.example.org:port",
    "smtp://ops:password@mail.example.org:99999",
    "smtp://ops:password@",
    "smtp://ops:password@[::1",
    "smtp://mail.example.org/path",
    "smtp:password",
    "mailto:ops@example.org",
    "gopher://ops:password@mail.example.org",
)
NO_NUMBERS = ("five", "40s", "-1", "-0.5", "inf", "1e999", "nan", "1_000", "٣", "0x10", "9" * 5000)
# By the default's type, and by name where more is known of it.
WRONG: dict[Any, tuple[str, ...]] = {
    bool: ("maybe", "2", "tru", "yes please"),
    int: (*NO_NUMBERS, "2.5", "1,5"),
    float: (*NO_NUMBERS, "1,5"),
    str: ("two\nlines", "bell\a", "not UTF-8: \udcff"),
    tuple: ("one,two\nlines", "bell\a"),
    Path: ("/two\nlines",),
    "HTTPS_ONLY": ("maybe",),
    "SECURE_HSTS_SECONDS": ("abc", "1h"),
    "POSTGRES_PORT": ("abc", "0", "65536", "5432/tcp"),
    "TIME_ZONE": ("Mars/Olympus", "../../etc/passwd", "/etc", "Europe"),
    "LOG_LEVEL": ("LOUD", "20"),
    "SITE_SCHEME": ("ftp", "https://", "HTTPS"),
    "SITE_HOST": (
        "https://example.org",
        "example.org:443",
        "example.org/",
        "a b",
        "-a.org",
        "ä.org",
    ),
    "ALLOWED_HOSTS": ("https://a.example", "a.example,b c", "a.example/x", "*.example.org"),
    "CSRF_TRUSTED_ORIGINS": ("app.example.org", "https://a.example/path", "ftp://a.example"),
    "REDIS_URL": ("nonsense", "redis://", "http://redis", "redis://:p#w@redis", "redis://redis/x"),
    "EMAIL_URL": ADDRESSES,
    "DEFAULT_FROM_EMAIL": ("ops", "@example.org", "ops@example.org\nBcc: x@y"),
    "OPS_REQUIRE_SIGNED": ("maybe", "Commits"),
    "OPS_PROBE_ADDRESS": ("caddy", "http://caddy:2020", "caddy:port"),
    "OPS_PING_URL": ("ping.example.org", "https://", "https://a b", "https://[::1", "https://a:b/"),
    "OPS_NOTIFY_WEBHOOKS": ("https://a.example,hooks",),
    "OPS_NOTIFY_EMAILS": ("ops@example.org,ops",),
    "OPS_SMOKE_PATHS": ("about", "/,about", "/a b"),
}
UNCHECKED = {"OPS_REQUESTED_BY", "OPS_REQUESTED_FROM"}


@pytest.mark.parametrize("variable", sorted(FIELDS.keys() - UNCHECKED))
def test_a_wrong_value_names_its_variable_and_is_not_shown(variable: str) -> None:
    declared, _, default = FIELDS[variable]
    kind = Path if isinstance(default, Path) else type(default)
    values = WRONG.get(variable) or WRONG[kind]

    sentences = {sentence for v in values for sentence in wrong(declared, **{variable: v})}

    assert all(wrong(declared, **{variable: value}) for value in values)
    # Whatever is set, it is the same: nothing of the value is in it.
    [sentence] = sentences
    assert sentence.startswith(f"{variable} must be ")
    assert sentence.endswith(".")


def test_what_is_wrong_in_a_password_of_mail_is_how_to_encode_it() -> None:
    [sentence] = wrong(SiteSettings, EMAIL_URL=ADDRESSES[0])

    assert ENCODED in sentence


@pytest.mark.parametrize("what", ["is missing", "is a directory", "is not UTF-8", "never ends"])
def test_a_file_that_cannot_be_read_is_named_by_its_variable(what: str, tmp_path: Path) -> None:
    path = tmp_path / "secret"
    match what:
        case "is a directory":
            path.mkdir()
        case "is not UTF-8":
            path.write_bytes(b"\xff\xfe")
        case "never ends":
            path = Path("/dev/zero")

    [sentence] = wrong(SiteSettings, SECRET_KEY_FILE=str(path))

    assert sentence.startswith("SECRET_KEY_FILE must name a file that can be read here: ")
    assert str(path) not in sentence


@given(st.sampled_from(sorted(NUMBERS)), st.text(st.characters(codec="utf-8")))
def test_whatever_is_written_a_number_is_finite_and_not_negative_or_refused(
    variable: str, written: str
) -> None:
    declared, name, default = NUMBERS[variable]
    env = Environment({variable: written})

    value = getattr(declared.from_env(env), name)

    assert type(value) is type(default)
    assert 0 <= value <= 10**9
    assert not env.wrong or value == default


def test_settings_cannot_be_changed_behind_a_deployments_back() -> None:
    with pytest.raises(AttributeError):
        OpsSettings().branch = "other"  # type: ignore[misc]


def test_a_project_reads_its_own_variables_as_django_environ_does_and_a_wrong_one_is_named(
    tmp_path: Path,
) -> None:
    (tmp_path / "key").write_text("from a file")
    env = Environment({"RATE": "s3cret", "LIST": "a,b", "KEY_FILE": str(tmp_path / "key")})

    assert env.int("RATE", default=3) == 3
    assert (env.list("LIST"), env.str("KEY"), env.str("NONE", default="")) == (
        ["a", "b"],
        "from a file",
        "",
    )
    assert env.wrong == ["RATE cannot be read as int (ValueError)."]
    with pytest.raises(ImproperlyConfigured, match="RATE cannot be read as int"):
        env.int("RATE")
