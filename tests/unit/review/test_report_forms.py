"""The report's forms: HTML that is valid, self-contained and escaped; Markdown; SVG; JSON."""

from __future__ import annotations

import json
import re
from datetime import UTC, timedelta, timezone
from html.parser import HTMLParser

from report_night import END_MS, HOSTILE, START_MS, WORKERS, answers, row

from agentcoord.cli.report_page import report_page
from agentcoord.review.report.document import document_of
from agentcoord.review.report.headline import RUNS_HERE
from agentcoord.review.report.html import page_of
from agentcoord.review.report.markdown import markdown_of
from agentcoord.review.report.night import night_of
from agentcoord.review.report.timeline_svg import TICKS, tick_times
from agentcoord.tui.styled import plain_text

VOID = {"meta", "br", "hr", "img", "input", "link"}
NIGHT = night_of(answers(), now_ms=END_MS)
HOUR_MS = 3_600_000


class Page(HTMLParser):
    """Reads a page strictly: each element is closed in order; ids, links and addresses are noted."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.ids: list[str] = []
        self.targets: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice"
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name == "href":
                self.targets.append(value or "")
            if name in ("src", "href", "srcset", "data", "action", "poster"):
                self.addresses.append(value or "")
            assert not name.startswith("on"), f"<{tag}> has a handler"
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_every_element_is_closed_and_every_id_is_unique() -> None:
    page = Page(page_of(NIGHT, UTC))
    assert len(page.ids) == len(set(page.ids))


def test_every_link_leads_to_a_place_in_the_page() -> None:
    page = Page(page_of(NIGHT, UTC))
    assert page.targets
    assert {target.removeprefix("#") for target in page.targets} <= set(page.ids)


def test_the_page_asks_for_nothing_and_runs_nothing() -> None:
    text = page_of(NIGHT, UTC)
    page = Page(text)
    assert all(address.startswith("#") for address in page.addresses)
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "base"}
    assert "url(http" not in text
    assert "@import" not in text
    assert "default-src 'none'" in text


def test_what_a_model_wrote_is_shown_and_never_markup() -> None:
    text = page_of(NIGHT, UTC)
    assert "<script" not in text
    assert HOSTILE in "".join(Page(text).words)


def test_each_claim_of_a_green_check_leads_to_its_exit_code_and_output() -> None:
    text = page_of(NIGHT, UTC)
    assert '<a href="#checks-unit-tests">2/2 exit 0</a>' in text
    pattern = r'<details><summary><span class="exit ok">exit 0</span> task.*?</details>'
    folded = re.search(pattern, text, re.DOTALL)
    assert folded is not None
    assert "Ran 31 tests" in folded[0]


def test_the_failed_task_shows_its_class_and_leads_to_the_red_check() -> None:
    text = page_of(NIGHT, UTC)
    assert '<span class="badge failed">checks stayed red</span>' in text
    assert 'href="#check-metrics-1"' in text
    assert '<div id="check-metrics-1">' in text


def test_two_checks_of_one_name_have_ids_of_their_own() -> None:
    tasks = [row("a", "done", "A", files=["a.py"])]
    check = {"name": "task", "command": "true", "exit_code": 0, "ok": True, "ms": 1, "output": ""}
    night = night_of(answers(tasks=tasks, details={"a": {"checks": [check, check]}}), now_ms=END_MS)
    page = Page(page_of(night, UTC))
    assert {"check-a-0", "check-a-1"} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))


def test_every_worker_has_a_lane_in_the_drawing() -> None:
    text = page_of(NIGHT, UTC)
    for worker in WORKERS:
        assert f">{worker}</text>" in text
    assert text.count('<rect class="idle" x="0"') == len(WORKERS)


def test_hours_on_the_axis_are_round_in_the_readers_zone() -> None:
    india = timezone(timedelta(hours=5, minutes=30))
    ticks = tick_times(START_MS, END_MS, india)
    assert 2 <= len(ticks) <= TICKS + 1
    assert all((tick + 5.5 * HOUR_MS) % HOUR_MS == 0 for tick in ticks)


def test_markdown_keeps_foreign_markup_without_effect() -> None:
    text = markdown_of(NIGHT, UTC)
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert text.startswith("# 7 of 10 tasks landed")
    assert "| unit-tests | landed | 2/2 exit 0 | +412 -3 |" in text
    assert "**metrics** (checks stayed red)" in text


def test_markdown_fences_are_longer_than_what_they_hold() -> None:
    tasks = [row("a", "failed", "A", why="not proven after 3 tries: tests")]
    check = {"name": "t", "command": "x", "exit_code": 1, "ok": False, "ms": 1, "output": "````\nError: no"}
    night = night_of(answers(tasks=tasks, details={"a": {"checks": [check]}}), now_ms=END_MS)
    assert "`````" in markdown_of(night, UTC)


def test_the_document_is_json_and_has_the_computed_figures() -> None:
    document = json.loads(json.dumps(document_of(NIGHT)))
    assert document["usd_on_failures"] == 0.6
    assert document["usd_per_landed_task"] == 0.66
    assert document["timeline"]["waiting_ms"] == 660_000
    assert document["reading_order"][0]["task"] == "rate-limiter"


def test_every_form_tells_first_what_runs_on_the_users_machine() -> None:
    tasks = [row("a", "done", "A", files=["Makefile"], runs_here=["Makefile"], needs=["x"])]
    tasks.append(row("p", "parked", "P", why="asks"))
    night = night_of(answers(tasks=tasks, details={}), now_ms=END_MS)
    assert document_of(night)["runs_here"] == [{"path": "Makefile", "tasks": ["a"]}]
    for text in (
        markdown_of(night, UTC),
        page_of(night, UTC),
        "\n".join(plain_text(line) for line in report_page(night, 100, UTC)),
    ):
        words = text.partition("<main")[2] or text
        assert words.index(RUNS_HERE) < words.index("Makefile") < words.index("Needs you")
    calm = night_of(answers(tasks=[row("a", "done", "A", files=["a.py"])], details={}), now_ms=END_MS)
    assert RUNS_HERE not in markdown_of(calm, UTC) + page_of(calm, UTC)
