"""OPS_SERVERS: which servers there are, and which one is meant."""

from __future__ import annotations

import pytest

from apps.ops.remote.servers import Misnamed, Server, choose, parse

PRODUCTION = "production=deploy@www.example.org:2222/code/site"
STAGING = "staging=staging.example.org/srv/site/"


def test_a_server_is_read_with_all_it_has() -> None:
    assert parse([PRODUCTION]) == {
        "production": Server("production", "deploy", "www.example.org", 2222, "/code/site")
    }


def test_what_is_left_out_is_for_ssh_config_to_say() -> None:
    assert parse([STAGING])["staging"] == Server(
        "staging", None, "staging.example.org", None, "/srv/site"
    )


def test_an_ipv6_address_stands_in_brackets() -> None:
    server = parse(["a=deploy@[2001:db8::1]:22/code"])["a"]
    assert (server.host, server.port) == ("2001:db8::1", 22)


def test_a_directory_may_have_spaces_and_colons() -> None:
    assert parse(["a=b/code/it's: here"])["a"].directory == "/code/it's: here"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "production",
        "production=",
        "production=www.example.org",
        "=www.example.org/code",
        "production=www.example.org:/code",
        "production=www.example.org:0/code",
        "production=www.example.org:65536/code",
        "production=-oProxyCommand=evil/code",
        "production=-l@www.example.org/code",
        "production=a b/code",
        "-production=www.example.org/code",
        "production=www.example.org/code\nsecond",
        "production=2001:db8::1/code",
    ],
)
def test_what_is_no_server_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Misnamed, match=r"which is not NAME=\[USER@\]HOST") as refused:
        parse([text])
    assert refused.value.exit_code == 2
    assert refused.value.next.startswith("OPS_SERVERS=production=deploy@www.example.org:22/code")


def test_two_servers_of_one_name_are_refused() -> None:
    with pytest.raises(Misnamed, match="two servers of the name production"):
        parse([PRODUCTION, PRODUCTION])


def test_the_only_server_needs_no_name() -> None:
    assert choose(parse([STAGING]), None).name == "staging"


def test_of_several_servers_one_must_be_named() -> None:
    servers = parse([PRODUCTION, STAGING])
    assert choose(servers, "staging").name == "staging"
    with pytest.raises(Misnamed, match="There are several servers: production, staging"):
        choose(servers, None)


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(Misnamed, match=r"no server 'prod'\. It has: production, staging"):
        choose(parse([PRODUCTION, STAGING]), "prod")


def test_without_servers_the_setting_is_named() -> None:
    with pytest.raises(Misnamed, match="OPS_SERVERS names no server"):
        choose({}, None)
