"""Draw the pictures of the dashboard and of the report that the documentation shows, with the real app.

    python scripts/dashboard_pictures.py [--all] [folder]

The app runs without a terminal on a recorded night; its SVG loses the web fonts, and `resvg-py`
(not a dependency: `pip install resvg-py pillow` into any environment) makes a PNG of it, which
Pillow makes small. Without these packages the SVG, or a larger PNG, is written instead. Separate
from the tests, which compare text and no pictures.
"""

from __future__ import annotations

import asyncio
import importlib
import io
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC
from pathlib import Path

from dashboard_scene import recorded_app, replayed_app

from agentcoord.review.report.html import page_of
from agentcoord.review.report.night import night_of

ROOT = Path(__file__).resolve().parent.parent
FONTS = "DejaVu Sans Mono"
COLOURS = 200
PICTURES = (
    ("dashboard", (150, 40), ()),
    ("dashboard-80x24", (80, 24), ()),
    ("dashboard-200x60", (200, 60), ()),
    ("task", (120, 40), ("enter",)),
    ("worker", (120, 40), ("1", "j", "j", "enter")),
    ("log", (120, 32), ("L", "slash", *"health", "enter")),
    ("replay", (150, 40), ()),
    ("review", (130, 42), ("v", "J", "minus")),
    ("diff", (120, 40), ("G", "d")),
    ("command", (120, 32), ("space", "space", "colon", *"retr")),
    ("help", (120, 66), ("question_mark",)),
    ("confirm", (120, 40), ("x",)),
)
COMMITTED = ("dashboard", "task", "worker", "log", "diff", "help", "review", "replay")
"""Drawn without `--all`."""
REPORTS = (
    ("report", (1100, 2700), ("--blink-settings=preferredColorScheme=1",)),
    ("report-phone", (500, 1900), ("--blink-settings=preferredColorScheme=0",)),
)


async def draw(scratch: Path, size: tuple[int, int], keys: tuple[str, ...], *, replayed: bool) -> str:
    """Run the app, press keys, return the screen as SVG."""
    app = replayed_app(scratch) if replayed else recorded_app(scratch)
    async with app.run_test(size=size) as pilot:
        await pilot.pause(1.0)
        for key in keys:
            await pilot.press(key)
            await pilot.pause(0.6)
        return app.export_screenshot(title="agentcoord dashboard")


def with_local_fonts(svg: str) -> str:
    """Drop the web fonts, which a renderer must not fetch, and name fonts that it has."""
    without = re.sub(r"@font-face\s*\{[^}]*\}", "", svg)
    return without.replace("Fira Code", FONTS).replace("font-family: arial", f"font-family: {FONTS}")


def png_of(svg: str) -> bytes | None:
    """Rasterise, or return None where `resvg-py` is not installed."""
    try:
        resvg = importlib.import_module("resvg_py")
    except ImportError:
        return None
    png = bytes(resvg.svg_to_bytes(svg_string=svg, font_family=FONTS, monospace_family=FONTS, zoom=1))
    return with_fewer_colours(png)


def with_fewer_colours(png: bytes) -> bytes:
    """A terminal has few colours: a palette of them makes the file a third as large."""
    try:
        image_library = importlib.import_module("PIL.Image")
    except ImportError:
        return png
    written = io.BytesIO()
    plain = image_library.open(io.BytesIO(png)).convert("RGB")
    # Those that most dots have, exactly: averages lose the green behind a line, and the one red word.
    counted = sorted(plain.getcolors(plain.width * plain.height), reverse=True)[:COLOURS]
    palette = image_library.new("P", (1, 1))
    palette.putpalette([part for _, colour in counted for part in colour])
    plain.quantize(palette=palette, dither=0).save(written, "PNG", optimize=True)
    return written.getvalue()


def draw_report(folder: Path) -> list[Path]:
    """The morning report of the tests' night in a headless Chromium, on a desk and on a phone.

    Nothing is drawn where no Chromium is installed.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return []
    sys.path.insert(0, str(ROOT / "tests" / "unit" / "review"))
    report_night = importlib.import_module("report_night")
    answers = report_night.answers()
    answers.tasks[-1]["title"] = "Split the order module"  # The tests' own title looks like an attack.
    night = night_of(answers, now_ms=report_night.END_MS)
    drawn = []
    with tempfile.TemporaryDirectory() as scratch:
        page = Path(scratch) / "report.html"
        page.write_text(page_of(night, UTC), encoding="utf-8")
        for name, size, more in REPORTS:
            path = folder / f"{name}.png"
            options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
            options += ["--disable-background-networking", f"--user-data-dir={scratch}/{name}", *more]
            options += [f"--window-size={size[0]},{size[1]}", f"--screenshot={path}", page.as_uri()]
            subprocess.run([browser, *options], check=True, capture_output=True, timeout=60)
            path.write_bytes(with_fewer_colours(path.read_bytes()))
            drawn.append(path)
    return drawn


def main(arguments: list[str]) -> int:
    """Draw into a folder; return an exit code."""
    everything = "--all" in arguments
    folders = [a for a in arguments if not a.startswith("--")]
    folder = Path(folders[0]) if folders else ROOT / "docs" / "images"
    folder.mkdir(parents=True, exist_ok=True)
    for name, size, keys in PICTURES:
        if name not in COMMITTED and not everything:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            svg = asyncio.run(draw(Path(scratch), size, keys, replayed=name == "replay"))
        svg = with_local_fonts(svg)
        png = png_of(svg)
        path = folder / (f"{name}.svg" if png is None else f"{name}.png")
        path.write_bytes(svg.encode() if png is None else png)
        print(path)
    for path in draw_report(folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
