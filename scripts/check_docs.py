#!/usr/bin/env python3
"""Holds the documentation against the code, and says everything that is wrong in one go.

- a page or drawing that is made from the code is stale;
- a relative link, or its anchor, leads nowhere;
- a command, option, `make` target, script or setting that is named does not exist;
- a setting is said to be without effect, and has one by now;
- a message that is explained is none that the program says;
- a page is longer than it may be.

`check_docs.py [FOLDER]` looks for links, commands and settings in another folder's pages instead.
Exits 1 when something is wrong. Deliberately absent: whether sentences are true; people see to that.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from doc_sources import ROOT, SOURCE, commands_of_both
from make_reference import WITHOUT_EFFECT, generated_pages, part_pages

from agentcoord.config.load import SECTIONS
from agentcoord.domain.events import EventKind

LONGEST_LINES: Final = {"docs/architecture.md": 300, "README.md": 180}
_UNREAD: Final = {".venv", "node_modules", "build", "dist"}
_LINK: Final = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_FENCE: Final = re.compile(r"^\s*(```|~~~)(\w*)")
_HEREDOC: Final = re.compile(r"<<-?\s*['\"]?(\w+)")
_SETTING: Final = re.compile(r"`(" + "|".join(SECTIONS) + r")\.([a-z_]+)`")
_FILE_ENDINGS: Final = {"toml", "py", "md", "json", "lua"}


def main(arguments: list[str]) -> int:
    """Check the repository, or another folder's pages; print what is wrong and return the exit code."""
    folder = Path(arguments[0]).resolve() if arguments else ROOT
    problems = [] if arguments else [*stale_pages(), *lapsed_notes(), *long_pages(), *unsaid_messages()]
    pages = sorted(markdown_pages(folder))
    for page in pages:
        problems += [f"{page.relative_to(folder)}{words}" for words in problems_of(page)]
    for problem in problems:
        print(problem, file=sys.stderr)
    print(f"{len(pages)} pages, {len(problems)} problems")
    return 1 if problems else 0


def stale_pages() -> Iterator[str]:
    """Yield the pages that say something else than the code does."""
    mend = "run .venv/bin/python scripts/make_reference.py"
    for path, text in generated_pages().items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            yield f"{path.relative_to(ROOT)}: stale; {mend}"
    for path, made_anew in part_pages().items():
        text = path.read_text(encoding="utf-8")
        try:
            if made_anew(text) != text:
                yield f"{path.relative_to(ROOT)}: a part that is made from the code is stale; {mend}"
        except ValueError as error:
            yield str(error)


def lapsed_notes() -> Iterator[str]:
    """Yield the settings that are called without effect, and are used by now."""
    outside = [path for path in SOURCE.rglob("*.py") if path.parent.name != "config"]
    code = "".join(path.read_text(encoding="utf-8") for path in outside)
    for key, words in WITHOUT_EFFECT.items():
        if words in code:
            yield f"scripts/make_reference.py: WITHOUT_EFFECT names {key}, but the code uses it"


def long_pages() -> Iterator[str]:
    """Yield the pages that have grown too long to be read in one go."""
    for name, most in LONGEST_LINES.items():
        count = len((ROOT / name).read_text(encoding="utf-8").splitlines())
        if count > most:
            yield f"{name}: {count} lines; at most {most}"


def unsaid_messages() -> Iterator[str]:
    """Yield the messages that troubleshooting explains, and that nothing in the code says."""
    page = ROOT / "docs" / "troubleshooting.md"
    said = "".join(_texts_in(path) for path in sorted(SOURCE.rglob("*.py")))
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.startswith("### "):
            continue
        for message in line.removeprefix("### `").removesuffix("`").split("`, `"):
            pieces = [piece for piece in re.split("…", message) if piece.strip(" ,.:()")]
            missing = [piece for piece in pieces if piece not in said]
            if missing or not pieces:
                yield f"docs/troubleshooting.md:{number}: nothing says {missing[0] if missing else message!r}"


def _texts_in(path: Path) -> str:
    """All texts of a module, each on a line: those written in several pieces are put together."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return "".join(f"{value}\n" for value in values if isinstance(value, str))


def markdown_pages(folder: Path) -> Iterator[Path]:
    """Yield every page below `folder`, hidden folders and environments left out."""
    for path in folder.rglob("*.md"):
        parts = path.relative_to(folder).parts
        if not any(part.startswith(".") or part in _UNREAD for part in parts):
            yield path


def problems_of(page: Path) -> Iterator[str]:
    """Yield what is wrong in one page, each as `:line: words`."""
    prose: list[tuple[int, str]] = []
    commands: list[tuple[int, str]] = []
    fence, language = "", ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        found = _FENCE.match(line)
        if found and not fence:
            fence, language = found[1], found[2]
        elif found and fence == found[1] and not found[2]:
            fence = ""
        elif fence and language == "sh":
            commands.append((number, line))
        elif not fence:
            prose.append((number, line))
    for number, line in prose:
        for link in _LINK.findall(line):
            if words := problem_with_link(page, link):
                yield f":{number}: {words}"
        for section, key in _SETTING.findall(line):
            if not is_known_name(section, key):
                yield f":{number}: there is no setting {section}.{key}"
    for number, line in without_heredocs(commands):
        if words := problem_with_command(line):
            yield f":{number}: {words}"


def is_known_name(section: str, key: str) -> bool:
    """Whether `section.key` is a setting, or else a kind of event or a file's name, which look alike."""
    keys = {field.name for field in dataclasses.fields(SECTIONS[section])}
    return key in keys or section == "checks" or key in _FILE_ENDINGS or f"{section}.{key}" in set(EventKind)


def problem_with_link(page: Path, link: str) -> str:
    """Return why a link leads nowhere; nothing for a good one, or one to the web."""
    if re.match(r"[a-z]+:", link):
        return ""
    name, _, anchor = link.partition("#")
    target = (page.parent / name) if name else page
    if not target.exists():
        return f"the link {link} leads nowhere"
    if anchor and target.suffix == ".md" and anchor not in anchors_of(target):
        return f"the link {link}: there is no heading #{anchor}"
    return ""


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    found: set[str] = set()
    fenced = False
    for line in page.read_text(encoding="utf-8").splitlines():
        fenced ^= _FENCE.match(line) is not None
        if fenced or not re.match(r"#{1,6} ", line):
            continue
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
        slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
        again = 0
        while (anchor := f"{slug}-{again}" if again else slug) in found:
            again += 1
        found.add(anchor)
    return found


def without_heredocs(lines: list[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """Yield the lines that a shell would run, continued ones put together."""
    closer, begun = "", ""
    for number, raw in lines:
        if closer:
            closer = "" if raw.strip() == closer else closer
            continue
        line = begun + raw
        begun = f"{line[:-1]} " if line.endswith("\\") else ""
        if begun:
            continue
        opener = _HEREDOC.search(line)
        closer = opener[1] if opener else ""
        yield number, line[: opener.start()] if opener else line


def problem_with_command(line: str) -> str:
    """Return what of a shell line does not exist; nothing for commands that are not ours."""
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError as error:
        return f"the line cannot be read as a shell's: {error}"
    command: list[str] = []
    for word in [*words, ";"]:
        if word and set(word) <= set("();|&"):
            if problem := problem_with_words(command):
                return problem
            command = []
        elif command or not re.match(r"[A-Z_]+=", word):
            command.append(word)
    return ""


def problem_with_words(words: list[str]) -> str:
    """Return what is wrong with one simple command."""
    program = words[0].rpartition("/")[2] if words else ""
    if program in ("agentcoord", "agentcoordd"):
        return _problem_with_ours(program, words[1:])
    if program == "make":
        targets = re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"))
        unknown = [w for w in words[1:] if "=" not in w and not w.startswith("-") and w not in targets]
        return f"there is no make target {unknown[0]}" if unknown else ""
    if words and words[0].startswith("scripts/") and not (ROOT / words[0]).exists():
        return f"there is no {words[0]}"
    return ""


def _problem_with_ours(program: str, words: list[str]) -> str:
    rest = list(words)
    while rest and rest[0] in ("-C", "--project"):
        del rest[:2]
    if not rest or rest[0] in ("--help", "-h", "--version"):
        return ""
    known = commands_of_both()
    name = f"{program} {rest.pop(0)}"
    if name not in known and rest:
        name = f"{name} {rest.pop(0)}"
    if name not in known:
        return f"there is no command `{name}`"
    options = _options_of(known[name])
    unknown = [w for w in rest if w.startswith("-") and w != "-" and w.partition("=")[0] not in options]
    return f"`{name}` has no option {unknown[0]}" if unknown else ""


def _options_of(command: Any) -> set[str]:
    return {option for param in command.params for option in param.opts} | {"-h", "--help", "-C", "--project"}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
