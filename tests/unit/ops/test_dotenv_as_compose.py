"""Our reading of odd `.env` files is Compose's own: the same names and values, or refused.

Compose reads a service's `env_file` and the project's `.env` by one parser; it is asked through the
first, for all files at once, as one that it refuses ends its run.
"""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from apps.ops.dotenv import Dotenv, parse

# The shell that asks.
SHELL = {"HERE": "from-shell", "EMPTY": "", "BOTH": "shell's"}

READ = [
    # What is a value, and where it ends.
    "A=1",
    "A=1\n",
    "A=",
    "A=\nB=2\n",
    "A =1",
    "A= 1 ",
    " A\t=\t1\t",
    "A=a b  c",
    "A=a=b==",
    "A==",
    "A=:b",
    "\n\n\nA=1\n\n",
    "A=1\r\nB=2\r\n",
    "A=1\rB=2\n",
    "\ufeffA=1",
    "A=1\nA=2\n",
    "A=$B\nA='x'\n",
    "A=ünï=✓",
    "A=\u00a0x\u00a0",
    "A=x\u2003",
    # Comments.
    "# only this",
    "#A=1\n",
    "  # A=1\nB=2",
    "A=1 # a note",
    "A=1\t# no note",
    "A=1# no note",
    "A=#q7",
    "A= # a note",
    "A=x #",
    "A='1' # a note",
    'A="1"# a note',
    'A="1 # 2"',
    "A=a # b # c",
    "A=http://h/#frag",
    # Names.
    "MY-VAR=1",
    "my.var=1",
    "a[0]=1",
    "1A=1",
    "ÄÖ=1",
    "A\tB=1",
    "export A=1",
    "  export   A = 1",
    "export\tA=1",
    "exportA=1",
    "export=1",
    "A: v",
    "A:v",
    "A: 'v'",
    "A:=v",
    "export A: v",
    # Names without a value: the shell's.
    "HERE\n",
    "export HERE\n",
    "export EMPTY\nA=1\n",
    "NOWHERE\nA=1\n",
    "HERE  \nA=1\n",
    "export\nA=1\n",
    # Quotes.
    "A=''",
    'A=""',
    "A='a\\'b'",
    'A="a\\"b"',
    "A='a\\nb\\\\c'",
    'A="a\\nb\\tc\\\\d"',
    'A="\\a\\b\\f\\v\\r."',
    'A="\\q \\c \\x41 \\u0041"',
    'A="\\0101 \\012 \\0777 \\0 \\0189"',
    "A=a\\nb\\\\c",
    "A=a'b'c",
    'A=a"b',
    "A= 'x' ",
    "A='x'\nB=2",
    "A='x' B=2\n",
    'A="x"B=2\n',
    "A='one\ntwo # 2\nB=three'\nC=4\n",
    'A="-----BEGIN\nabc==\n-----END"\nB=2\n',
    'A="one\r\ntwo"\r\nB=2',
    "A='# x'",
    "A='$HERE ${HERE} $$'",
    # Variables.
    "A=$HERE",
    "A=${HERE}",
    'A="$HERE-${HERE}"',
    "A=1\nB=$A\n",
    "BOTH=file's\nB=$BOTH\n",
    "B=$A\nA=1\n",
    "A=$NOWHERE.",
    "A=$$HERE",
    'A="\\$HERE"',
    "A=\\$HERE",
    "A=a$",
    "A=a$ b$1$-",
    "A=pa$$$$w",
    "A=${NOWHERE:-x}",
    "A=${EMPTY:-x}${EMPTY-y}${NOWHERE-z}",
    "A=${HERE:+x}${EMPTY:+y}${EMPTY+z}",
    "A=${HERE:?no}${EMPTY?no}",
    "A=${NOWHERE:-${HERE}}",
    "A=${NOWHERE:-a}b} ${HERE}",
    "A=${NOWHERE:-{}}",
    "A=${NOWHERE:-a:?b-c}",
    "A=${NOWHERE:-$$}",
    'A="${NOWHERE:-x y}"',
    "A=$HERE$HERE$",
]
REFUSED = [
    "A='it''s'",
    'A="a"b"',
    "A='open",
    "A='x' y z\n",
    "what is this\n",
    "A B=1",
    "(A)=1",
    "export A B\n",
    "'A'=1",
    '{"A": 1}',
    "A=${",
    "A=${HERE",
    "A=${1}",
    'A="${HERE.x}"',
    "A=${NOWHERE:?no}",
    "-----BEGIN PRIVATE KEY-----\nMIIE\n",
]
# Compose reads them as the value of "", and no container can be created with that.
NAMELESS = ["=1", "HERE", "export HERE", "A=1\nexport B"]


def compose(directory: Path, texts: list[str]) -> subprocess.CompletedProcess[str]:
    services = {}
    for number, text in enumerate(texts):
        (directory / f"{number}.env").write_bytes(text.encode())
        services[f"s{number}"] = {"image": "none", "env_file": f"{number}.env"}
    (directory / "compose.yml").write_text(json.dumps({"services": services}))
    own = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.run(
        ["docker", "compose", "--project-name", "x", "config", "--format", "json"],
        cwd=directory,
        env={**own, **SHELL},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, str]]:
    """What Compose would give a container, by the file's text."""
    texts = READ + NAMELESS
    done = compose(tmp_path_factory.mktemp("read"), texts)
    assert done.returncode == 0, done.stderr
    services = json.loads(done.stdout)["services"]
    return {
        text: {
            name: value.replace("$$", "$")
            for name, value in (services[f"s{number}"].get("environment") or {}).items()
            if value is not None
        }
        for number, text in enumerate(texts)
    }


@pytest.mark.parametrize("text", READ)
def test_what_compose_reads_is_read_alike(text: str, told: dict[str, dict[str, str]]) -> None:
    found: Dotenv = parse(text, SHELL)

    assert not found.wrong
    assert found.values == told[text]


@pytest.mark.parametrize("text", NAMELESS)
def test_a_value_without_a_name_is_refused(text: str, told: dict[str, dict[str, str]]) -> None:
    assert "" in told[text]
    assert parse(text, SHELL).wrong


def test_what_compose_refuses_is_refused(tmp_path: Path) -> None:
    def asked(number: int) -> int:
        directory = tmp_path / str(number)
        directory.mkdir()
        return compose(directory, [REFUSED[number]]).returncode

    with ThreadPoolExecutor(max_workers=4) as pool:
        codes = list(pool.map(asked, range(len(REFUSED))))

    assert [text for text, code in zip(REFUSED, codes, strict=True) if code == 0] == []
    assert [text for text in REFUSED if not parse(text, SHELL).wrong] == []
