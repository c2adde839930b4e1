"""Secrets that are known by their shape alone, whoever's they are."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import NamedTuple


class _Shape(NamedTuple):
    """What `group` 1 of the pattern finds is secret. Without one of the signs (in small letters) in
    a text, nothing is looked for: most lines have none."""

    signs: tuple[str, ...]
    pattern: re.Pattern[str]


def _shape(signs: str, pattern: str, flags: int = 0) -> _Shape:
    return _Shape(tuple(signs.split()), re.compile(pattern, flags))


# Between a name and its value in a header, in JSON, in Python's notation and in a list of pairs.
_IS = r"""\\{0,3}(?:["']\s{0,4}[:,]|["']?\s{0,4}(?:=>|[:=]))\s{0,4}(?:b(?=["']))?"""
# A whole value in quotes, or to the end of the line or of the quotes that it stands in.
_VALUE = r"""(?:\\{0,3}"([^"\n]*)|\\{0,3}'([^'\n]*)|"""
_HEADER_VALUE = _VALUE + r"""(digest\s[^'\n]*|[^"'\n]+))"""
_WORD_VALUE = _VALUE + r"""([^\s"'&;,<>(){}\[\]]+))"""
_KEY = (
    r"(?:pass(?:word|wd|phrase)|(?<![a-z0-9])(?:pwd?|pass|sig)|secret|token|credentials?|signature"
    r"|session_?id|csrfmiddlewaretoken"
    r"|(?:api|access|private|signing|encryption|auth|deploy|account|license|client|master|shared)"
    r"[_-]?key)(?:[_-]\w{1,20})?(?![a-z0-9])"
)
_KEY_SIGNS = "pass pw sig secret token credential session csrf key"
_FLAGS = re.IGNORECASE
_SHAPES = (
    _shape("authorization", rf"authorization{_IS}{_HEADER_VALUE}", _FLAGS),
    _shape("cookie", rf"(?<![a-z])cookie{_IS}{_HEADER_VALUE}", _FLAGS),
    _shape(
        "x- api-key",
        rf"(?:x-[a-z-]{{0,20}}(?:key|token|secret)|api-key){_IS}{_HEADER_VALUE}",
        _FLAGS,
    ),
    _shape("bearer", r"\bbearer\s{1,4}([a-z0-9._~+/=-]{8,})", _FLAGS),
    _shape("basic", r"\b[Bb]asic\s{1,4}(?=[a-z]*[A-Z0-9+/=])([A-Za-z0-9+/]{6,}={0,2})"),
    _shape("token", r"\b[Tt]oken\s{1,4}(?=[A-Za-z_-]*[0-9])([\w.~+/=-]{16,})"),
    _shape("digest", r"\bDigest\s{1,4}(username=[^\n]*)"),
    # Addresses of which the path is the secret.
    _shape(
        "hooks.slack discord webhook hooks.zapier api.telegram hc-ping",
        r"(?:hooks\.slack\.com|discord(?:app)?\.com/api/webhooks|[\w.-]{1,60}\.webhook\.office\.com"
        r"|hooks\.zapier\.com|hc-ping\.com|api\.telegram\.org(?=/bot))/([^\s\"'<>|]+)",
    ),
    _shape("://", r"://([^\s/\"]+)@"),
    # name=value; name: "value".
    _shape(_KEY_SIGNS, rf"{_KEY}=(?!\$[{{(A-Z]|[<%]){_WORD_VALUE}", _FLAGS),
    _shape(
        _KEY_SIGNS,
        rf"""{_KEY}(?:\\{{0,3}}["'])\s{{0,4}}(?:=>|[:,])\s{{0,4}}(?:b(?=["']))?{_VALUE}(\d{{6,}}))""",
        _FLAGS,
    ),
    _shape(_KEY_SIGNS, rf"""(?<!["'\w]){_KEY}\s{{1,4}}=\s{{0,4}}'([^'\n]+)""", _FLAGS),
    _shape(
        _KEY_SIGNS,
        rf"(?i:{_KEY}):\s{{0,4}}(?=[a-z_-]*[A-Z0-9+/=])([^\s\"'&;,<>(){{}}\[\]]{{8,}})",
    ),
    _shape(
        "password identified",
        r"(?:password|identified\s{1,4}by)\s{1,4}E?'((?:[^'\n]|'')+)'",
        _FLAGS,
    ),
    # curl -u, sshpass -p, mysql --password.
    _shape("curl", r"\bcurl(?=\s)[^\n]{0,200}?\s(?:-u|--user)[\s=]{0,2}[\"']?([^\s\"']+)"),
    # What makers of tokens put before them.
    _shape(
        "akia asia gh github_pat glpat- xox xapp- sk_ rk_ pk_ whsec_ aiza ya29. gocspx- sg. npm_"
        " pypi- eyj sk- dop_v1_ hf_ hvs. age-secret shpat_ glrt- key- sntrys_ lin_api_ dckr_pat_"
        " atatt",
        r"(?<![A-Za-z0-9])((?:AKIA|ASIA)[A-Z0-9]{8,}|gh[pousr]_[A-Za-z0-9]{8,}|github_pat_\w{8,}"
        r"|gl(?:pat|rt|dt|soat)-[\w.-]{8,}|xox[a-z]-[\w-]{8,}|xapp-[\w-]{8,}"
        r"|[srp]k_(?:live|test)_\w{6,}|whsec_[\w+/=]{8,}|AIza[\w-]{8,}|ya29\.[\w.-]{8,}"
        r"|GOCSPX-[\w-]{8,}|SG\.[\w-]{8,}(?:\.[\w-]+)?|npm_[A-Za-z0-9]{16,}"
        r"|pypi-[A-Za-z0-9_]{12,}[\w-]*"
        r"|eyJ[\w-]{8,}(?:\.[\w-]*){0,4}|sk-(?=[a-z_-]*[A-Z0-9])[\w-]{16,}|dop_v1_[0-9a-f]{8,}"
        r"|hf_[A-Za-z0-9]{16,}|hvs\.[\w-]{8,}|AGE-SECRET-KEY-1[A-Z0-9]{8,}|shpat_\w{8,}"
        r"|key-[0-9a-f]{32}|sntrys_[\w=+/-]{8,}|lin_api_\w{8,}|dckr_pat_[\w-]{8,}|ATATT[\w=-]{16,})",
    ),
    # What Compose quotes of a `.env` that it cannot read, also of another machine's. Of a password
    # with a "$" the rest is the name of a variable: real ones are written in capitals.
    _shape("invalid", r'Invalid template: \\?"(.+)"'),
    _shape("invalid", r'invalid interpolation format for [^\s"]+: \\?"(.+)'),
    _shape("in variable", r'in variable name \\?"(.+)"'),
    _shape("unterminated", r"unterminated quoted value (.+)"),
    _shape("variable is", r'The \\?"(?![A-Z0-9_]+\\?")(\w+)\\?" variable is not set'),
    _shape("required", r"required variable (?![A-Z0-9_]+ )(\w+) is missing a value"),
)
_KEY_BEGIN = re.compile(r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?(?:-----)?")
_KEY_END = re.compile(r"-----END (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----")
# With what a log or a mail puts before it.
_KEY_LINE = re.compile(
    r"(?:[^\n]{0,80}[|>] {0,3})?\s*"
    r"(?:[A-Za-z0-9+/=]{1,80}|(?:Proc-Type|DEK-Info|Comment|Version): [^\n]*|)\s*"
)
# A line of a key whose beginning is elsewhere: 64 or 70 characters of base64, no digest.
_LONE_LINE = re.compile(
    r"(?<![\w+/=-])[A-Za-z0-9+/]{64}(?:[A-Za-z0-9+/]{6}){0,2}(?=\s*$)", re.MULTILINE
)
_NOTHING = re.compile(r"[•*.…]*|none|null|true|false|\d{1,5}", re.IGNORECASE)


def shapes(text: str) -> Iterator[tuple[int, int]]:
    small = text.lower()
    for signs, pattern in _SHAPES:
        if any(sign in small for sign in signs):
            for match in pattern.finditer(text):
                group = match.lastindex or 0
                if not _NOTHING.fullmatch(match[group]):
                    yield match.span(group)
    if "private key" in small:
        yield from _private_keys(text)
    for match in _LONE_LINE.finditer(text):
        if all(any(map(kind, match[0])) for kind in (str.isupper, str.islower, str.isdigit)):
            yield match.span()


def opens_key(line: str) -> bool:
    """Whether a private key begins in it that does not end in it."""
    begin = line.rfind("-----BEGIN ")
    return begin >= 0 and bool(_KEY_BEGIN.search(line, begin)) and not _KEY_END.search(line, begin)


def may_be_of_a_key(line: str) -> bool:
    return bool(_KEY_LINE.fullmatch(line) or _KEY_END.search(line))


def ends_key(line: str) -> bool:
    return _KEY_END.search(line) is not None


def _private_keys(text: str) -> Iterator[tuple[int, int]]:
    """Whole blocks; of one that is cut, the lines that can be of a key."""
    begins = [match.span() for match in _KEY_BEGIN.finditer(text)]
    ends = deque(match.span() for match in _KEY_END.finditer(text))
    for number, (begin, after) in enumerate(begins):
        limit = begins[number + 1][0] if number + 1 < len(begins) else len(text)
        while ends and ends[0][0] < after:
            yield _lines_before(text, *ends.popleft())
        if ends and ends[0][1] <= limit:
            yield begin, ends.popleft()[1]
        else:
            yield begin, _lines_after(text, after, limit)
    for end in ends:
        yield _lines_before(text, *end)


def _lines_after(text: str, begin: int, limit: int) -> int:
    end = text.find("\n", begin, limit)
    while 0 <= end < limit:
        after = text.find("\n", end + 1, limit)
        line = text[end + 1 : after if after >= 0 else limit]
        if not _KEY_LINE.fullmatch(line):
            return end
        end = after
    return limit


def _lines_before(text: str, begin: int, end: int) -> tuple[int, int]:
    begin = text.rfind("\n", 0, begin) + 1
    while begin > 0:
        before = text.rfind("\n", 0, begin - 1) + 1
        if not _KEY_LINE.fullmatch(text[before : begin - 1]):
            break
        begin = before
    return begin, end
