#!/usr/bin/env python3
"""Opens the morning report in a headless Chromium, as a phone and as a desk, light and dark, and judges it.

    python scripts/report_in_browser.py [folder]

The page is one of the tests' night, and once more with what makes pages too wide: long words, long paths,
long lines. Told with exit code 1: anything wider than the window, a request that leaves the page, text
with too little contrast, something to press that no Tab reaches, a part that scrolls and takes no focus.
Screenshots go into the folder, if one is given. The measuring script stands in a copy of the page,
without its content policy. Needs `chromium` on PATH (Debian: `apt-get install chromium`); without one
it says so and exits 3. Not a part of `make test`, which reads the page strictly but opens no browser.
"""

from __future__ import annotations

import html
import importlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC
from pathlib import Path
from typing import Any, Final

from agentcoord.review.report.html import page_of
from agentcoord.review.report.night import night_of

ROOT: Final = Path(__file__).resolve().parent.parent
WIDTHS: Final = {"phone": 390, "small-phone": 320, "desk": 1100}
SCHEMES: Final = {"dark": 0, "light": 1}
"""Blink's numbers."""
HEIGHT: Final = 3000
PHONE_WINDOW: Final = 500
"""No narrower window opens: narrower pages stand in a frame."""
LEAST_CONTRAST: Final = 4.5
"""WCAG 2.2, 1.4.3, for text of ordinary size."""
OPTIONS: Final = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    "--host-resolver-rules=MAP * ~NOTFOUND",
    *("--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
MEASURE: Final = """
<script>
addEventListener('load', () => {
  for (const each of document.querySelectorAll('details')) each.open = true;
  const scrolls = e => ['auto', 'scroll'].includes(getComputedStyle(e).overflowX);
  const inside = e => { for (let p = e.parentElement; p; p = p.parentElement) if (scrolls(p)) return true; };
  const name = e => e.tagName + '.' + (e.getAttribute('class') || '') + ' '
    + (e.textContent || '').trim().slice(0, 40);
  const all = [...document.body.querySelectorAll('*')].filter(e => e.getClientRects().length);
  const skip = e => e.closest('.skip') || e.closest('svg');
  const wide = all.filter(e => !skip(e) && !inside(e) && e.getBoundingClientRect().right > innerWidth + 1);
  const press = 'a[href], summary, button, input';
  const dumb = all.filter(e => scrolls(e) && e.scrollWidth > e.clientWidth && e.tabIndex < 0
    && !e.querySelector(press));
  const unreached = all.filter(e => e.matches(press) && e.tabIndex < 0);
  const rgb = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const light = c => {
    const [r, g, b] = c.map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b; };
  const over = (top, under) => {
    const part = top[3] ?? 1;
    return top.slice(0, 3).map((v, i) => v * part + under[i] * (1 - part)); };
  const ground = e => { const layers = [];
    for (let p = e; p; p = p.parentElement) layers.push(rgb(getComputedStyle(p).backgroundColor));
    return layers.reverse().reduce((under, top) => top.length ? over(top, under) : under, [255, 255, 255]); };
  const pale = [];
  for (const e of all) {
    if (skip(e) || ![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const back = ground(e), front = over(rgb(getComputedStyle(e).color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x), ratio = (a + .05) / (b + .05);
    if (ratio < LEAST) pale.push(ratio.toFixed(2) + ' ' + name(e));
  }
  const found = {width: innerWidth, page: document.documentElement.scrollWidth, wide: wide.map(name),
    dumb: dumb.map(name), unreached: unreached.map(name), pale};
  if (parent !== window) parent.postMessage(JSON.stringify(found), '*');
  else document.documentElement.setAttribute('data-found', JSON.stringify(found));
});
</script>
"""
FRAME: Final = """<!DOCTYPE html><html><body style="margin:0"><iframe src="page.html" width="{width}"
height="{height}" style="border:0"></iframe><script>addEventListener('message',
e => document.documentElement.setAttribute('data-found', e.data));</script></body></html>"""


def pages() -> dict[str, str]:
    """The page as it is in the tests, and one with everything in it too long."""
    sys.path.insert(0, str(ROOT / "tests" / "unit" / "review"))
    report_night = importlib.import_module("report_night")
    plain = report_night.answers()
    plain.tasks[-1]["title"] = "Split the order module"  # The tests' own title looks like an attack.
    long = report_night.answers()
    for task in long.tasks:
        task["title"] = "Internationalisation" * 12
        task["files"] = ["src/" + "very_long_folder_name/" * 9 + "file.py"]
        task["why"] = "x" * 300
    for detail in long.details.values():
        detail["summary"] = "y" * 400
        detail["decisions"] = ["z" * 200, "word " * 80]
    return {
        name: page_of(night_of(each, now_ms=report_night.END_MS), UTC)
        for name, each in (("report", plain), ("long", long))
    }


def looked_at(browser: str, page: str, width: int, scheme: int, picture: Path | None) -> dict[str, Any]:
    """Open the page once to measure it and once to draw it; what was found."""
    with tempfile.TemporaryDirectory(prefix="ac-r-") as scratch:
        folder = Path(scratch)
        measured = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
        script = MEASURE.replace("LEAST", str(LEAST_CONTRAST))
        (folder / "page.html").write_text(measured.replace("</head>", f"{script}</head>"), encoding="utf-8")
        frame = FRAME.format(width=width, height=HEIGHT)
        (folder / "frame.html").write_text(frame, encoding="utf-8")
        target = folder / ("frame.html" if width < PHONE_WINDOW else "page.html")
        options = [browser, *OPTIONS, f"--blink-settings=preferredColorScheme={scheme}"]
        options.append(f"--window-size={max(width, PHONE_WINDOW)},{HEIGHT}")
        net_log = folder / "net.json"
        words = [f"--user-data-dir={folder / 'p'}", f"--log-net-log={net_log}", "--virtual-time-budget=3000"]
        done = subprocess.run(
            [*options, *words, "--dump-dom", target.as_uri()], capture_output=True, timeout=90, check=True
        )
        told = re.search(r'data-found="([^"]*)"', done.stdout.decode())
        if told is None:
            raise SystemExit("the page was not measured")
        found: dict[str, Any] = json.loads(html.unescape(told.group(1)))
        found["requests"] = requests_in(json.loads(net_log.read_text()))
        if picture is not None:
            words = [f"--user-data-dir={folder / 'q'}", f"--screenshot={picture}"]
            subprocess.run([*options, *words, target.as_uri()], capture_output=True, timeout=90, check=True)
        return found


def requests_in(net_log: dict[str, Any]) -> list[str]:
    """What the page itself asked of the network; the browser's own errands have no origin."""
    asked = [event.get("params") or {} for event in net_log["events"]]
    return sorted(
        {
            str(each["url"])
            for each in asked
            if str(each.get("url", "")).startswith(("http", "ws"))
            and each.get("initiator") not in (None, "not an origin")
        }
    )


def problems_of(found: dict[str, Any]) -> list[str]:
    """What is wrong, in words."""
    problems = [f"wider than the window: {each}" for each in found["wide"]]
    if found["page"] > found["width"]:
        problems.append(f"the page is {found['page']} wide in a window of {found['width']}")
    problems += [f"leaves the page: {each}" for each in found["requests"]]
    problems += [f"scrolls and takes no focus: {each}" for each in found["dumb"]]
    problems += [f"no Tab reaches: {each}" for each in found["unreached"]]
    problems += [f"too little contrast: {each}" for each in found["pale"]]
    return problems


def main(arguments: list[str]) -> int:
    """Look at every page, width and scheme; return an exit code."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        print("chromium is not installed: the report cannot be opened", file=sys.stderr)
        return 3
    folder = Path(arguments[0]) if arguments else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    wrong = 0
    for name, page in pages().items():
        for device, width in WIDTHS.items():
            for scheme, number in SCHEMES.items():
                picture = folder / f"{name}-{device}-{scheme}.png" if folder else None
                found = looked_at(browser, page, width, number, picture)
                problems = problems_of(found)
                wrong += len(problems)
                print(f"{name}, {device} ({found['width']}), {scheme}: {len(problems)} problems")
                for problem in problems[:20]:
                    print(f"  {problem}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
