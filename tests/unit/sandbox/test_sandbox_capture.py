"""The bounded capture keeps the ends of a stream and nothing more."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agentcoord.sandbox.capture import HeadTail


def test_short_output_is_kept_as_it_is() -> None:
    capture = HeadTail(100)
    capture.write(b"one\n")
    capture.write(b"two\n")
    assert capture.text() == "one\ntwo\n"
    assert capture.dropped_bytes == 0


def test_a_flood_keeps_its_first_third_and_its_last_two_thirds() -> None:
    capture = HeadTail(30)
    for number in range(1000):
        capture.write(b"%09d\n" % number)
    assert capture.dropped_bytes == 10_000 - 30
    assert capture.text() == "000000000\n\n[... 9970 bytes left out ...]\n000000998\n000000999\n"


def test_lines_that_are_cut_are_left_out_so_that_no_half_of_a_secret_stays() -> None:
    capture = HeadTail(60)
    for _ in range(100):
        capture.write(b"key=secret\n")
    text = capture.text()
    assert text == f"key=secret\n\n[... {1100 - 44} bytes left out ...]\n" + "key=secret\n" * 3
    assert capture.dropped_bytes == 1100 - 60


def test_of_a_long_line_that_is_cut_no_half_of_a_word_stays() -> None:
    word = b"sk-ant-secret_1.2~3/4+5="
    for limit_bytes in range(30_000, 30_040):
        capture = HeadTail(limit_bytes)
        for _ in range(10_000):
            capture.write(word + b"\r")
        head, _, tail = capture.text().partition("\n[...")
        assert set(head.split("\r")) == {word.decode(), ""}
        assert set(tail.partition("]\n")[2].split("\r")) == {word.decode(), ""}


def test_characters_cut_in_half_are_replaced_not_raised() -> None:
    capture = HeadTail(9)
    capture.write("€€€€€€€€€€".encode() + b"\xff")
    assert "left out" in capture.text()


@given(st.lists(st.binary(max_size=50)), st.integers(min_value=0, max_value=60))
def test_nothing_is_lost_or_invented_whatever_the_pieces(pieces: list[bytes], limit_bytes: int) -> None:
    whole = b"".join(pieces)
    capture = HeadTail(limit_bytes)
    for piece in pieces:
        capture.write(piece)
    assert capture.dropped_bytes == max(0, len(whole) - limit_bytes)
    if len(whole) <= limit_bytes:
        assert capture.text() == whole.decode("utf-8", "replace")


def test_memory_stays_below_twice_the_limit_under_a_flood() -> None:
    capture = HeadTail(1000)
    for _ in range(10_000):
        capture.write(b"x" * 64)
        assert len(capture._head) + len(capture._tail) < 2000
