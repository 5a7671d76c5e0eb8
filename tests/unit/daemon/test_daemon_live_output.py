"""What is shown of a command while it runs: whole lines, bounded, without secrets."""

from __future__ import annotations

import pytest

from agentcoord.daemon.live_output import SHOWN_CHARS, LiveOutput
from agentcoord.telemetry.logs import Redactor

KEY = "super-secret-key-0123456789"


@pytest.mark.parametrize("cut", range(1, len(KEY)))
def test_a_secret_cut_in_two_is_never_shown_not_even_in_part(cut: int) -> None:
    shown: list[str] = []
    live = LiveOutput(Redactor([KEY]), shown.append)
    live(b"begins\n" + KEY[:cut].encode())
    live(KEY[cut:].encode() + b"\nends\n")
    assert shown == ["begins\n", "begins\n[redacted]\nends\n"]


@pytest.mark.parametrize("piece_bytes", [1, 7, 500, 8_192, 65_536])
def test_of_a_flood_of_long_secrets_no_part_is_shown(piece_bytes: int) -> None:
    key = KEY * 20
    shown: list[str] = []
    live = LiveOutput(Redactor([key]), shown.append)
    flood = ((key + "\n") * 60 + "x" * 9_000 + key + "\nend\n").encode()
    for start in range(0, len(flood), piece_bytes):
        live(flood[start : start + piece_bytes])
    assert shown[-1].endswith("end\n")
    assert not any(KEY in each for each in shown)


def test_a_flood_shows_its_end_and_keeps_little() -> None:
    shown: list[str] = []
    live = LiveOutput(Redactor([KEY]), shown.append)
    for _ in range(200):
        live((KEY.encode() + b"\n") * 2_000)
    live(b"the end\n")
    assert all(len(each) <= SHOWN_CHARS for each in shown)
    assert shown[-1].endswith("[redacted]\nthe end\n")
    assert not any(KEY[-8:] in each or KEY[:8] in each for each in shown)


def test_a_character_cut_in_two_arrives_whole() -> None:
    shown: list[str] = []
    live = LiveOutput(Redactor([]), shown.append)
    live("naïve\n".encode()[:3])
    live("naïve\n".encode()[3:])
    assert shown == ["naïve\n"]
