from __future__ import annotations

from pathlib import Path

from apps.ops.colors import Color

ROOT = Path(__file__).parents[3]


def test_there_are_two_colours_and_each_is_the_others_other() -> None:
    assert list(Color) == [Color.BLUE, Color.GREEN]
    for color in Color:
        assert color.other is not color
        assert color.other.other is color


def test_a_colours_service_is_the_one_that_the_compose_file_and_caddy_know() -> None:
    compose = (ROOT / "compose.prod.yml").read_text()
    caddyfile = (ROOT / "docker/caddy/Caddyfile").read_text()
    for color in Color:
        _, _, service = compose.partition(f"\n  {color.service}:")
        assert f"COLOR: {color}" in service.partition("\n\n")[0]
        assert f"import django {color} {color.service} " in caddyfile
