"""Secrets that no `.env` has told of."""

from __future__ import annotations

import json

import pytest

from apps.ops.redact import HIDDEN, LineByLine, Redactor

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27uhbUJU1p1r"
SHAPES = [
    "Authorization: Basic dXNlcjpwYXNzd29yZA==",
    "authorization: bearer 0123abcd0123abcd",
    "Proxy-Authorization: Basic dXNlcjpwYXNzd29yZA==",
    "Authorization: Token 9944b09199c62bcf9418",
    'Authorization: Digest username="Mufasa", nonce="dcd98b7102", response="6629fae49393"',
    "Authorization: AWS4-HMAC-SHA256 Credential=AB/2026, Signature=fe5f80f77d5fa3",
    "curl -H 'Authorization: Basic dXNlcjpwYXNzd29yZA==' https://example.org/",
    'curl -H "Authorization: Custom dXNlcjpwYXNzd29yZA==" https://example.org/',
    "{'Authorization': 'Basic dXNlcjpwYXNzd29yZA=='}",
    '{"authorization": "Custom dXNlcjpwYXNzd29yZA=="}',
    json.dumps(json.dumps({"Authorization": "Custom dXNlcjpwYXNzd29yZA=="})),
    "[(b'authorization', b'Custom dXNlcjpwYXNzd29yZA==')]",
    "'HTTP_AUTHORIZATION': 'Basic dXNlcjpwYXNzd29yZA=='",
    "sent Bearer 0123abcd0123abcd to it",
    "Auth\x00orization: Ba\x1b[0msic dXNlcjpwYXNzd29yZA==",
    "Cookie: sessionid=x0z9k2m4q8; csrftoken=aa11bb22",
    "Set-Cookie: sessionid=x0z9k2m4q8; Path=/; HttpOnly",
    "{'cookie': 'sessionid=x0z9k2m4q8'}",
    "X-Api-Key: x0z9k2m4q8",
    "X-Auth-Token: x0z9k2m4q8",
    "AKIAIOSFODNN7EXAMPLF",
    "ASIAIOSFODNN7EXAMPLF",
    "ghp_16C7e42F292c6912E7710c838347Ae178B4a",
    "gho_16C7e42F292c6912E7710c838347Ae178B4a",
    "github_pat_11ABCDEFG0x0z9k2m4q8_abcdef",
    "glpat-x0z9k2m4q8x0z9k2m4q8",
    "xoxb-" + "17653672481-x0z9k2m4q8",
    "https://hooks.slack.com/services/T0AB/B0CD/x0z9k2m4q8",
    "https://discord.com/api/webhooks/12345/x0z9k2m4q8",
    "https://api.telegram.org/bot123:x0z9k2m4q8/sendMessage",
    "sk_" + "live_x0z9k2m4q8x0z9k2m4q8",
    "rk_" + "live_x0z9k2m4q8x0z9k2m4q8",
    "whsec_x0z9k2m4q8",
    "AIzaSyDx0z9k2m4q8x0z9k2m4q8",
    "SG.x0z9k2m4q8.x0z9k2m4q8x0z9k2m4q8",
    "npm_x0z9k2m4q8x0z9k2m4q8",
    "pypi-AgEIcHlwaS5vcmcx0z9k2m4q8",
    "sk-proj-x0z9k2m4q8x0z9k2m4q8",
    JWT,
    JWT[:30] + "…",
    "https://ada:x0z9k2m4q8@example.org/a.git",
    "https://x0z9k2m4q8@example.org/a.git",
    "GET /x?token=x0z9k2m4q8&page=2",
    "GET /x?page=2&api_key=x0z9k2m4q8",
    "GET /x?X-Amz-Signature=x0z9k2m4q8",
    "GET /x%3Ftoken%3Dx0z9k2m4q8",
    "DB_PASSWORD=x0z9k2m4q8",
    "export CLIENT_SECRET='x0z9 k2m4 q8'",
    'SMTP_PASS="x0z9 k2m4 q8"',
    '{"password": "x0z9 k2m4 q8"}',
    "{'api_key': 'x0z9k2m4q8'}",
    '{\\"secret\\": \\"x0z9k2m4q8\\"}',
    "password: x0z9k2m4q8",
    "ALTER USER site PASSWORD 'x0z9 k2m4 q8'",
    "curl -u ada:x0z9k2m4q8 https://example.org/",
    "-----BEGIN PRIVATE KEY-----\nMIIEvx0z9k2m4q8\nx0z9k2m4q8==\n-----END PRIVATE KEY-----",
    "-----BEGIN OPENSSH PRIVATE KEY-----\nMIIEvx0z9k2m4q8\nx0z9k2m4q8",
    "cut\nx0z9k2m4q8\nMIIEvx0z9k2m4q8\n-----END EC PRIVATE KEY-----",
    json.dumps("-----BEGIN PRIVATE KEY-----\nMIIEvx0z9k2m4q8\n-----END PRIVATE KEY-----"),
    "-----BEGIN PRIVATE KEY----- MIIEvx0z9k2m4q8 x0z9k2m4q8 cut",
    "django-a | -----BEGIN PRIVATE KEY-----\ndjango-a | MIIEvx0z9k2m4q8\ndjango-a | x0z9k2m4q8==",
    "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj",
]  # fmt: skip
TELLING = (
    *("dXNlc", "0123abcd", "9944b", "6629f", "dcd98", "fe5f8", "x0z9", "k2m4", "aa11", "IOSFO"),
    *("16C7e", "11ABC", "T0AB", "AgEI", "eyJ", "dBjft", "MIIEv", "BKcw"),
)


@pytest.mark.parametrize("text", SHAPES)
@pytest.mark.parametrize("around", ["{}", "before it {} ", "12:00:00 django-a | {}\nthe next line"])
def test_what_has_the_shape_of_a_secret_is_hidden_whoevers_it_is(text: str, around: str) -> None:
    cleaned = Redactor([]).clean(around.format(text))

    assert HIDDEN in cleaned
    assert not [part for part in TELLING if part in cleaned]
    if "\n" in around and "BEGIN PRIVATE KEY-----\ndjango" not in text:
        assert cleaned.endswith("\nthe next line")


def test_of_a_key_that_comes_line_by_line_each_is_hidden() -> None:
    clean = LineByLine(Redactor([])).clean
    lines = [
        "before",
        "key: -----BEGIN PRIVATE KEY-----",
        "MIIEvx0z",
        "k2m4q8==",
        "-----END PRIVATE KEY-----",
    ]
    again = ["after", "-----BEGIN PRIVATE KEY-----", "MIIEvx0z", "GET / 200"]

    assert [clean(line) for line in lines + again] == [
        *("before", f"key: {HIDDEN}", HIDDEN, HIDDEN, HIDDEN),
        *("after", HIDDEN, HIDDEN, "GET / 200"),
    ]
