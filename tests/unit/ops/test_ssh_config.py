"""The user's ssh_config means here what it means to OpenSSH."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from apps.ops.remote.failures import RemoteFailed
from apps.ops.remote.other_home import listed_home
from apps.ops.remote.ssh_config import configured_user, look_up
from apps.ops.remote.ssh_host import Host
from tests.servers import HUNG_SECONDS

SSH = shutil.which("ssh") or "ssh"

# What people have in their ~/.ssh/config.
SHAPES = {
    "nothing": "",
    "all of one host": "Host site\n  HostName www.example.org\n  Port 2222\n  User deploy\n",
    "equals signs, tabs and capitals": "HOST=site\n\tHOSTNAME = 192.0.2.1\n\tport=23\n",
    "a comment behind each value": (
        "Host site # Ann's\n  HostName 127.0.0.1 # new\n  Port 2222 # odd\n  User deploy # x\n"
    ),
    "a number sign in a value": "Host site\n  User a#b\n  IdentityFile /k#1\n",
    "comments of their own": "# one\nHost site\n  # two\n\n  User bob\n#Host x\n  Port 24\n",
    "quoted values": 'Host "site"\n  User "bob"\n  HostName "www.example.org"\n',
    "a key with a space": 'Host site\n  IdentityFile "~/my keys/id"\n  IdentityFile /b\n',
    "quotes in the midst": 'Host site\n  IdentityFile /"my keys"/id\n',
    "single quotes": "Host site\n  User 'bob'\n",
    "no end of a quote": "Host site\n  User 'bob\n",
    "a host that is left out": "Host * !site\n  User ann\nHost *\n  User bob\n",
    "a host that is left out first": "Host !other *\n  User ann\n",
    "patterns": "Host s?te 192.0.2.*\n  User ann\nHost *.example.org\n  User bob\n",
    "the first value holds": "Host site\n  Port 23\nHost *\n  Port 24\n  User bob\n",
    "before any host": "User ann\nPort 23\nHost site\n  User bob\n",
    "the name in the name": "Host site\n  HostName %h.example.org\n",
    "several keys": "Host *\n  IdentityFile ~/.ssh/a\nHost site\n  IdentityFile ~/.ssh/b\n",
    "no key": "Host site\n  IdentityFile none\n",
    "one key only": "Host site\n  IdentitiesOnly yes\n  IdentityFile ~/.ssh/work\n",
    "an agent of its own": "Host site\n  IdentityAgent ~/.1password/agent.sock\n",
    "an agent with a space": (
        'Host *\n  IdentityAgent "~/Library/Group Containers/2BUA.com/t/agent.sock"\n'
    ),
    "no agent": "Host site\n  IdentityAgent none\n",
    "the environment's agent": "Host site\n  IdentityAgent SSH_AUTH_SOCK\n",
    "a certificate": "Host site\n  CertificateFile ~/.ssh/work-cert.pub\n",
    "a jump": "Host site\n  ProxyJump bob@bastion.example.org:2222\n",
    "jumps": "Host site\n  ProxyJump a,ssh://bob@b:23,[2001:db8::1]:24\n",
    "no jump for one": "Host site\n  ProxyJump none\nHost *\n  ProxyJump bastion\n",
    "a command before a jump": "Host *\n  ProxyCommand nc -X 5 a 22\n  ProxyJump bastion\n",
    "a jump before a command": "Host *\n  ProxyJump bastion\n  ProxyCommand nc a 22\n",
    "a command with quotes": "Host site\n  ProxyCommand sh -c 'nc a 22 2>/dev/null' # no comment\n",
    "no command for one": "Host site\n  ProxyCommand none\nHost *\n  ProxyCommand nc a 22\n",
    "several known_hosts": 'Host site\n  UserKnownHostsFile ~/.ssh/a "~/.ssh/b c" /d\n',
    "no known_hosts": "Host site\n  UserKnownHostsFile /dev/null\n  StrictHostKeyChecking no\n",
    "known_hosts none": "Host site\n  UserKnownHostsFile none\n  GlobalKnownHostsFile none\n",
    "a system's known_hosts": "Host *\n  GlobalKnownHostsFile /etc/a /etc/b\n",
    "an alias of the key": "Host site\n  HostKeyAlias Site-1\n  CheckHostIP no\n",
    "strict": "Host site\n  StrictHostKeyChecking accept-new\n",
    "stricter": "Host site\n  StrictHostKeyChecking yes\n  BatchMode yes\n",
    "over IPv6 from there": "Host site\n  AddressFamily inet6\n  BindAddress ::1\n",
    "in a hurry": "Host site\n  ConnectTimeout 7\n  ServerAliveInterval 30\n",
    "no passwords": "Host *\n  PasswordAuthentication no\n  KbdInteractiveAuthentication no\n",
    "some ways only": "Host *\n  PreferredAuthentications publickey,password\n",
    "algorithms": (
        "Host site\n  Ciphers aes256-ctr,aes128-ctr\n  MACs hmac-sha2-256\n"
        "  KexAlgorithms curve25519-sha256\n  HostKeyAlgorithms ssh-ed25519\n"
        "  PubkeyAcceptedAlgorithms rsa-sha2-512\n"
    ),
    "algorithms by difference": "Host *\n  Ciphers -*cbc\n  HostKeyAlgorithms +ssh-rsa\n",
    "match of the host": "Match host site\n  User ann\nMatch host other\n  Port 23\n",
    "match of the name typed": (
        "Host site\n  HostName www.example.org\nMatch originalhost site host www.*\n  User bob\n"
    ),
    "match of the user": "Host site\n  User ann\nMatch user ann\n  Port 23\n",
    "match of who asks": "Match localuser no-such-user\n  User ann\n",
    "match of all": "Match all\n  User ann\n",
    "match of a program": 'Match host site exec "test 1 = 1"\n  User ann\n',
    "match of a program that fails": 'Match exec "exit 1"\n  User ann\n',
    "match of not": "Match !host other\n  User ann\n",
    "match at last": "Match final host site\n  User ann\nHost site\n  Port 23\n",
    "match at last of known_hosts": "Match final\n  UserKnownHostsFile ~/a ~/b\n",
    "match of a network": "Match localnetwork 192.0.2.0/24\n  User ann\n  ProxyJump a\n",
    "match of a tag": "Host site\n  Tag work\nMatch tagged work\n  User ann\n",
    "match of another tag": "Match tagged work\n  User ann\n",
    "match of a version": "Match version OpenSSH_1.*\n  User ann\n",
    "match with equals": "Match host=site\n  User ann\n",
    "an include": "Include {more}/hosts\nUser bob\n",
    "an include for one": "Host other\n  Include {more}/hosts\nHost *\n  User bob\n",
    "an include with a host in it": "Host site\n  Include {more}/hosts\n  User bob\n",
    "an include before the rest": "Include {more}/hosts\nUser bob\nPort 25\n# other\n",
    "an include of one port": "Host other\n  Include {more}/port\n  User bob\nHost *\n  Port 24\n",
    "an include of what is not there": "Include {more}/none/*.conf # yet\nUser bob\n",
    "several includes": 'Include {more}/none "{more}/hosts"\nUser bob\n',
    "canonical names": "CanonicalizeHostname no\nMatch canonical\n  User ann\n",
    "backslashes": "Host site\n  IdentityFile ~/a\\ b\n",
    "a word that there is not": "Host site\n  Foo bar\n",
    "a port that there is not": "Host site\n  Port 99999\n",
    "no value": "Host site\n  Port\n",
    "a word for others": "IgnoreUnknown UseKeychain\nHost *\n  UseKeychain yes\n  User ann\n",
    "what is about sessions": "Host *\n  LocalForward 1 a:1\n  RemoteCommand x\n",
    "a control path": "Host *\n  ControlMaster auto\n  ControlPath ~/.ssh/%C\n  User bob\n",
}
MORE = "Host site\n  Port 23\nHost other\n  Port 24\nHost *\n  User ann\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh" / "config"


def write_more(directory: Path) -> Path:
    """What the shapes include."""
    more = directory / "more"
    more.mkdir(exist_ok=True)
    (more / "hosts").write_text(MORE)
    (more / "port").write_text("Port 23\n")
    return more


def ssh(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SSH, *words], capture_output=True, text=True, timeout=HUNG_SECONDS, check=False
    )


EACH = """for file in "$0"/*; do for host in site other; do
  echo "= $(basename "$file") $host"; "$1" -G -F "$file" $host 2>/dev/null || echo refused
done; done"""


@pytest.fixture(scope="module")
def theirs(
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[tuple[str, str], dict[str, list[str]] | None]:
    """What OpenSSH prints for each shape and host; None when it refuses."""
    files = tmp_path_factory.mktemp("shapes")
    for number, text in enumerate(SHAPES.values()):
        (files / str(number)).write_text(text.format(more=write_more(files.parent)))
    argv = ["sh", "-c", EACH, str(files), SSH]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=HUNG_SECONDS, check=True)
    names = list(SHAPES)
    found: dict[tuple[str, str], dict[str, list[str]] | None] = {}
    for part in done.stdout.removeprefix("= ").split("\n= "):
        head, *lines = part.splitlines()
        number, host = head.split()
        found[names[int(number)], host] = None if "refused" in lines else printed(lines)
    return found


def printed(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        key, _, value = line.partition(" ")
        for home in (f"{listed_home()}/", "~/"):
            value = value.replace(home, "HOME/")
        if not value.endswith("id_xmss"):  # Debian's own.
            found.setdefault(key, []).append({"true": "yes", "false": "no"}.get(value, value))
    return found


def as_they_print(ours: Host) -> dict[str, Sequence[str]]:
    def files(found: Sequence[Path]) -> Sequence[str]:
        return [" ".join(map(str, found)) or "none"]

    found: dict[str, Sequence[str]] = {
        "hostname": [ours.address],
        "port": [str(ours.port)],
        "identityfile": [str(path) for path in ours.identities if path.name != "id_xmss"]
        or ["none"],
        "identitiesonly": ["yes" if ours.only_identities else "no"],
        "certificatefile": list(map(str, ours.certificates)),
        "userknownhostsfile": files(ours.known_hosts),
        "globalknownhostsfile": files(ours.system_known_hosts),
        "stricthostkeychecking": [ours.unknown_keys],
        "batchmode": ["no" if ours.may_ask else "yes"],
        "addressfamily": [{0: "any", 2: "inet", 10: "inet6"}[ours.family]],
        "connecttimeout": [f"{ours.connect_seconds:g}" if ours.connect_seconds else "none"],
        "passwordauthentication": ["yes" if "password" in ours.methods else "no"],
    }
    for key, value in (
        ("user", ours.user),
        ("proxyjump", ",".join(ours.jumps)),
        ("proxycommand", ours.proxy_command),
        ("identityagent", ours.agent),
        ("bindaddress", ours.bind_address),
    ):
        found[key] = [value] if value else []
    found = {k: [v.replace(str(Path.home()), "HOME") for v in value] for k, value in found.items()}
    return found | {key: [",".join(value)] for key, value in ours.algorithms.items()}


def assert_the_same(ours: Host, said: dict[str, list[str]], *ignoring: str) -> None:
    said = {"identityagent": [], "bindaddress": [], "proxycommand": [], "proxyjump": []} | said
    said |= {"certificatefile": said.get("certificatefile", [])}
    if said["identityagent"] == ["SSH_AUTH_SOCK"]:
        said["identityagent"] = []
    for key, value in as_they_print(ours).items():
        if key not in ignoring:
            assert list(value) == list(said[key]), key
    alias = said.get("hostkeyalias")
    assert ours.key_name == (alias[0] if alias else ours.key_name)


CHECKED_BY_OPENSSH_ONLY = {"a word that there is not"}
UNDERSTOOD_BY_OPENSSH_ONLY = {
    "a comment behind each value",
    "backslashes",
    "quotes in the midst",
    "single quotes",
    "match of a program",
    "match of a program that fails",
    "match of a network",
    "match of a tag",
    "match of another tag",
    "match of a version",
    "match with equals",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_configuration_means_what_it_means_to_openssh(
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    theirs: Mapping[tuple[str, str], dict[str, list[str]] | None],
    shape: str,
) -> None:
    """Where it is asked; where it is not, nothing is taken for something else."""
    config.write_text(SHAPES[shape].format(more=write_more(config.parents[1])))
    hosts = ["site", "other"] if "other" in SHAPES[shape] else ["site"]
    answers = {host: theirs[shape, host] for host in hosts}
    for host, said in answers.items():
        if said is None:
            with pytest.raises(RemoteFailed, match="OpenSSH refuses its configuration"):
                look_up(host)
        else:
            assert_the_same(look_up(host), said)

    monkeypatch.setenv("PATH", "/nowhere")
    for host, said in answers.items():
        if said is None and shape in CHECKED_BY_OPENSSH_ONLY:
            continue
        if said is None or shape in UNDERSTOOD_BY_OPENSSH_ONLY:
            with pytest.raises(RemoteFailed):
                look_up(host)
        else:
            ours = look_up(host)
            assert_the_same(ours, said, *(["user"] if ours.user is None else []))


def test_in_the_home_that_openssh_knows_it_is_asked_as_it_is(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(listed_home()))
    said = printed(ssh("-G", "-p", "2222", "-l", "bob", "site").stdout.splitlines())
    assert_the_same(look_up("site", user="bob", port=2222), said)


def test_what_is_included_by_relative_names_lies_beside_the_configuration(config: Path) -> None:
    (config.parent / "conf.d" / "more").mkdir(parents=True)
    config.write_text("Include conf.d/*.conf\n")
    (config.parent / "conf.d" / "a.conf").write_text("Include ~/.ssh/conf.d/more/*\nPort 23\n")
    (config.parent / "conf.d" / ".hidden.conf").write_text("User eve\n")
    (config.parent / "conf.d" / "more" / "b").write_text("Host site\n  User ann\n")
    assert (look_up("site").user, look_up("site").port) == ("ann", 23)


def test_tokens_stand_for_what_they_stand_for_to_openssh(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACE", "/place")
    config.write_text(
        "Host site\n  HostName site.example.org\n  Port 2222\n  User deploy\n"
        "  HostKeyAlias alias\n  ProxyCommand true %h %n %p %r %% $PLACE 'a  b'\n"
        "  IdentityFile /%h-%n-%p-%r-%u-%i-%k-%l-%L-%%-%j-%C\n  IdentityFile ${PLACE}/key\n"
    )
    said = ssh("-v", "-F", str(config), "site", "true").stderr
    ours = look_up("site")
    assert f"Executing proxy command: exec {ours.proxy_command}\r\n" in said.replace("\n", "\r\n")
    for path in ours.identities:
        assert f"identity file {path} type" in said


def test_the_agent_can_be_named_by_the_environment(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT", "/run/agent.sock")
    for text in ("$AGENT", "${AGENT}"):
        config.write_text(f"IdentityAgent {text}\n")
        assert look_up("site").agent == "/run/agent.sock"


def test_what_is_given_wins_and_is_matched(config: Path) -> None:
    config.write_text("Match user bob\n  HostName bobs\nHost *\n  User ann\n  Port 23\n")
    ours = look_up("site", user="bob", port=24)
    assert (ours.user, ours.port, ours.address) == ("bob", 24, "bobs")


def test_a_macs_configuration_is_read_in_a_container_on_it(config: Path) -> None:
    config.write_text("Host *\n  UseKeychain yes\n  AddKeysToAgent yes\nHost site\n  Port 23\n")
    assert look_up("site").port == 23


@pytest.mark.parametrize("name", ["", "PATH"])
def test_a_user_is_configured_or_not(
    config: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    if name:  # Where no program is.
        monkeypatch.setenv(name, "/nowhere")
    config.write_text("Host site\n  User ann\n")
    assert configured_user("site") == "ann"
    assert configured_user("other") is None


@pytest.mark.parametrize(
    ("text", "found", "then"),
    [
        (
            "Host site\n  Foo bar\n",
            "{config}: line 2: Bad configuration option",
            "ssh -G site",
        ),
        ("Include {config}\n", "a file is included by itself", "ssh -G site"),
        ("Include ~/more\n", "{home}/more", "chmod go-w {home}/more"),
        ("LogLevel QUIET\nPort none\n", "Bad port 'none'", "ssh -G site"),
        ("Include ~no-such-user/x\nFoo bar\n", "line 2: Bad configuration option", "ssh -G site"),
        ("IdentityFile ~/%z\n", "has %z, which stands for nothing", "~/.ssh/config"),
        ("IdentityFile ${{NO_SUCH}}/x\n", "NO_SUCH, which is not set", "~/.ssh/config"),
        ("IdentityFile ~no-such-user/x\n", "home directory", "~/.ssh/config"),
    ],
)
def test_what_openssh_refuses_is_said_in_its_words(
    config: Path, text: str, found: str, then: str
) -> None:
    names = {"config": str(config), "home": str(Path.home())}
    (Path.home() / "more").touch()
    (Path.home() / "more").chmod(0o666)
    config.write_text(text.format(**names))
    with pytest.raises(RemoteFailed) as refused:
        look_up("site")
    assert found.format(**names) in refused.value.found
    assert then.format(**names) in refused.value.next
    assert "changeover-ssh-" not in refused.value.found
    assert refused.value.exit_code == 255


@pytest.mark.parametrize(
    "said",
    ["ssh: unknown option -- G", "Usage: ssh [-i KEYFILE] HOST", "No user exists for uid 501"],
)
def test_an_ssh_that_cannot_say_it_is_not_asked(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho '{said}' >&2\nexit 255\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    config.write_text("Host site\n  Port 23\n")
    assert look_up("site").port == 23


def test_a_configuration_that_cannot_be_read_is_said(config: Path) -> None:
    config.mkdir()
    with pytest.raises(RemoteFailed, match=r"cannot be read: .*directory"):
        look_up("site")


def test_a_program_of_match_that_hangs_is_ended(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("apps.ops.remote.openssh.ASK_SECONDS", 0.5)
    config.write_text('Match exec "sleep 600"\n  User ann\n')
    with pytest.raises(RemoteFailed, match=r"OpenSSH did not say within 0\.5 s"):
        look_up("site")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("PreferredAuthentications gssapi-with-mic,hostbased", "no way to log in"),
        (
            "PubkeyAuthentication no\nPasswordAuthentication no\nKbdInteractiveAuthentication no",
            "no way to log in",
        ),
        ("Ciphers chacha20-poly1305@openssh.com", "knows no cipher: chacha20"),
        ("MACs umac-128-etm@openssh.com", "knows no MAC"),
        ("KexAlgorithms diffie-hellman-group1-sha1", "knows no key exchange"),
        ("HostKeyAlgorithms ssh-ed25519-cert-v01@openssh.com", "knows no kind of host key"),
        ("BindInterface lo", "BindInterface"),
        ("RevokedHostKeys /etc/ssh/revoked", "RevokedHostKeys"),
        ("ProxyCommand x\nProxyUseFdpass yes", "ProxyUseFdpass"),
        ("CanonicalizeHostname no", ""),
    ],
)
def test_what_cannot_be_followed_is_known_before_anything_is_sent(
    config: Path, text: str, why: str
) -> None:
    config.write_text(text)
    ours = look_up("site")
    assert why in ours.impossible
    assert bool(why) == bool(ours.impossible)


def test_what_is_not_followed_is_said(config: Path) -> None:
    config.write_text(
        "ControlPath ~/.ssh/%C\nPKCS11Provider /x.so\nStrictHostKeyChecking no\n"
        "KnownHostsCommand /bin/x\nGSSAPIAuthentication yes\n"
    )
    said = " ".join(look_up("site").ignored)
    for word in ("ControlPath", "PKCS11Provider", "StrictHostKeyChecking", "KnownHostsCommand"):
        assert word in said
