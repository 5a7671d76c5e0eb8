"""The tools on fakes of their ports: exact answers, bounded results, clean errors."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Callable

import pytest
from agent_fakes import FakeShell, MemoryFiles, MemoryQuestions

from agentcoord.agent.ports import CommandResult
from agentcoord.agent.tools.contract import RESULT_CHARS, ToolInputError, ToolResult
from agentcoord.agent.tools.finish import claim_of
from agentcoord.agent.tools.registry import Toolbox, tool_definitions
from agentcoord.agent.tools.search import SearchTool
from agentcoord.errors import LeaseLostError, SandboxError, WorkspaceError

EDITOR = "str_replace_based_edit_tool"


class Bench:
    """A toolbox on fakes, called as the model calls it."""

    def __init__(
        self,
        texts: dict[str, str] | None = None,
        run: Callable[[str], CommandResult | BaseException] | None = None,
    ) -> None:
        self.files = MemoryFiles(texts)
        self.shell = FakeShell(run)
        self.questions = MemoryQuestions()
        self.toolbox = Toolbox(
            shell=self.shell,
            files=self.files,
            questions=self.questions,
            command_timeout_s=120,
            call_deadline_s=300,
        )

    async def call(self, tool: str, **arguments: object) -> ToolResult:
        found = self.toolbox.find(tool)
        assert found is not None
        return await self.toolbox.run(found.prepare(arguments))

    async def edit(self, command: str, path: str, **arguments: object) -> ToolResult:
        return await self.call(EDITOR, command=command, path=path, **arguments)


def test_definitions_use_anthropics_own_types_by_default() -> None:
    by_name = {each["name"]: each for each in tool_definitions(custom=False)}
    assert by_name["bash"] == {"type": "bash_20250124", "name": "bash"}
    assert by_name[EDITOR] == {"type": "text_editor_20250728", "name": EDITOR}
    assert set(by_name) == {"bash", EDITOR, "search", "finish_task", "ask_human"}


def test_custom_definitions_have_a_schema_each_and_the_same_names() -> None:
    custom = tool_definitions(custom=True)
    assert [each["name"] for each in custom] == [each["name"] for each in tool_definitions(custom=False)]
    for each in custom:
        assert each["input_schema"]["type"] == "object"
        assert each["description"]
        assert "type" not in each
        assert set(each["input_schema"]["required"]) <= set(each["input_schema"]["properties"])


# The editor.


async def test_view_shows_numbered_lines_and_ranges() -> None:
    bench = Bench({"a.py": "one\ntwo\nthree\n"})
    assert (await bench.edit("view", "./a.py")).text == "     1\tone\n     2\ttwo\n     3\tthree"
    assert (await bench.edit("view", "a.py", view_range=[2, 2])).text == "     2\ttwo"
    assert (await bench.edit("view", "a.py", view_range=[3, -1])).text == "     3\tthree"


@pytest.mark.parametrize("view_range", [[0, 2], [4, 5], [3, 2], [-1, 2]])
async def test_view_of_lines_that_are_not_there_says_what_there_is(view_range: list[int]) -> None:
    result = await Bench({"a.py": "one\ntwo\nthree\n"}).edit("view", "a.py", view_range=view_range)
    assert result.is_error
    assert "a.py has 3 lines" in result.text


async def test_view_of_an_empty_file_says_so() -> None:
    assert (await Bench({"a.py": ""}).edit("view", "a.py")).text == "(a.py is empty)"


async def test_view_of_a_folder_lists_two_levels() -> None:
    bench = Bench({"a.py": "", "src/b.py": "", "src/deep/c.py": "", "node_modules/x/y.js": ""})
    assert (await bench.edit("view", ".")).text.split("\n") == [
        ". (two levels):",
        "a.py",
        "node_modules/",
        "src/",
        "src/b.py",
        "src/deep/",
    ]
    assert (await bench.edit("view", "src/")).text.split("\n")[1:] == [
        "src/b.py",
        "src/deep/",
        "src/deep/c.py",
    ]


async def test_a_folder_with_thousands_of_files_is_listed_within_a_bound() -> None:
    result = await Bench({f"f{n:05}.py": "" for n in range(3_000)}).edit("view", ".")
    assert len(result.text.split("\n")) < 510
    assert "2500 or more entries are not shown" in result.text


@pytest.mark.parametrize("path", ["cart.py", "/home/me/shop/src/cart.py", "src/crat.py"])
async def test_a_missing_file_is_answered_with_the_likeliest_one(path: str) -> None:
    result = await Bench({"src/cart.py": "x", "src/other.py": "x"}).edit("view", path)
    assert result.is_error
    assert result.text.endswith("Did you mean src/cart.py?")


async def test_what_leads_out_is_refused_in_the_words_of_the_private_copy() -> None:
    result = await Bench({"a": "x"}).edit("view", "../../etc/passwd")
    assert result.is_error
    assert "leads out of the repository" in result.text


async def test_str_replace_writes_and_shows_the_place() -> None:
    bench = Bench({"a.py": "one\ntwo\nthree\n"})
    result = await bench.edit("str_replace", "a.py", old_str="two", new_str="TWO\nand a half")
    assert bench.files.texts["a.py"] == "one\nTWO\nand a half\nthree\n"
    assert result.wrote
    assert "     2\tTWO\n     3\tand a half\n     4\tthree" in result.text


async def test_str_replace_without_new_str_deletes() -> None:
    bench = Bench({"a.py": "one\ntwo\n"})
    assert not (await bench.edit("str_replace", "a.py", old_str="two\n")).is_error
    assert bench.files.texts["a.py"] == "one\n"


async def test_a_refused_replacement_writes_nothing() -> None:
    bench = Bench({"a.py": "x\nx\n"})
    several = await bench.edit("str_replace", "a.py", old_str="x", new_str="y")
    none = await bench.edit("str_replace", "a.py", old_str="z", new_str="y")
    assert several.is_error
    assert "2 times, at lines 1, 2" in several.text
    assert none.is_error
    assert "does not occur" in none.text
    assert bench.files.texts["a.py"] == "x\nx\n"


async def test_an_edit_of_a_file_that_changed_since_it_was_viewed_shows_the_new_text() -> None:
    bench = Bench({"a.py": "one\ntwo\n"})
    await bench.edit("view", "a.py")
    bench.files.texts["a.py"] = "one\n2\n"
    result = await bench.edit("str_replace", "a.py", old_str="two", new_str="TWO")
    assert result.is_error
    assert "has changed since you viewed it" in result.text
    assert "     2\t2" in result.text
    again = await bench.edit("str_replace", "a.py", old_str="two", new_str="TWO")
    assert "has changed since" not in again.text


async def test_an_edit_that_still_fits_a_changed_file_is_made() -> None:
    bench = Bench({"a.py": "one\ntwo\n"})
    await bench.edit("view", "a.py")
    bench.files.texts["a.py"] = "zero\none\ntwo\n"
    assert not (await bench.edit("str_replace", "a.py", old_str="two", new_str="TWO")).is_error
    assert bench.files.texts["a.py"] == "zero\none\nTWO\n"


async def test_its_own_edit_is_no_change_since_viewed() -> None:
    bench = Bench({"a.py": "one\ntwo\n"})
    await bench.edit("view", "a.py")
    await bench.edit("str_replace", "a.py", old_str="one", new_str="1")
    result = await bench.edit("str_replace", "a.py", old_str="one", new_str="1")
    assert "has changed since" not in result.text


async def test_crlf_files_stay_crlf_whatever_the_model_writes() -> None:
    bench = Bench({"a.txt": "one\ntwo\n"})
    bench.files.newlines["a.txt"] = "\r\n"
    await bench.edit("str_replace", "a.txt", old_str="one\r\ntwo", new_str="1\r\n2")
    assert (bench.files.texts["a.txt"], bench.files.newlines["a.txt"]) == ("1\n2\n", "\r\n")
    await bench.edit("insert", "a.txt", insert_line=0, insert_text="zero")
    assert (bench.files.texts["a.txt"], bench.files.newlines["a.txt"]) == ("zero\n1\n2\n", "\r\n")
    await bench.edit("create", "a.txt", file_text="new\n")
    assert (bench.files.texts["a.txt"], bench.files.newlines["a.txt"]) == ("new\n", "\r\n")


async def test_mixed_line_ends_are_edited_exactly() -> None:
    bench = Bench({"a.txt": "one\r\ntwo\n"})
    await bench.edit("str_replace", "a.txt", old_str="one\r\ntwo", new_str="1\r\n2")
    assert bench.files.texts["a.txt"] == "1\r\n2\n"


async def test_create_writes_a_new_file_and_replaces_an_old_one() -> None:
    bench = Bench({"a.py": "one\n"})
    assert "Created: new.py, 2 lines" in (await bench.edit("create", "new.py", file_text="a\nb\n")).text
    assert "it had 1 line" in (await bench.edit("create", "a.py", file_text="x\n")).text
    assert bench.files.texts == {"a.py": "x\n", "new.py": "a\nb\n"}


@pytest.mark.parametrize("nothing", ["", " \n\n"])
async def test_create_does_not_empty_a_file(nothing: str) -> None:
    bench = Bench({"a.py": "one\n"})
    result = await bench.edit("create", "a.py", file_text=nothing)
    assert result.is_error
    assert bench.files.texts["a.py"] == "one\n"


async def test_create_may_make_an_empty_file() -> None:
    bench = Bench()
    assert not (await bench.edit("create", "pkg/__init__.py", file_text="")).is_error
    assert bench.files.texts["pkg/__init__.py"] == ""


async def test_create_outside_the_scope_is_refused_in_words() -> None:
    bench = Bench()
    result = await bench.edit("create", "outside/a.py", file_text="x")
    assert result.is_error
    assert "outside the scope" in result.text
    assert not result.wrote


async def test_an_optimistic_write_is_told() -> None:
    bench = Bench({"a.py": "one\n"})
    bench.files.optimistic.add("a.py")
    assert (
        "may have to be merged" in (await bench.edit("insert", "a.py", insert_line=1, insert_text="x")).text
    )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"command": "undo_edit", "path": "a"}, "is not one of"),
        ({"command": "view"}, "`path` is missing"),
        ({"command": "view", "path": "  "}, "`path` is empty"),
        ({"command": "view", "path": "a\0b"}, "NUL"),
        ({"command": "view", "path": "a", "view_range": [1]}, "two whole numbers"),
        ({"command": "view", "path": "a", "view_range": [True, 2]}, "two whole numbers"),
        ({"command": "str_replace", "path": "a", "new_str": "x"}, "`old_str` is missing"),
        ({"command": "str_replace", "path": "a", "old_str": "", "new_str": "x"}, "`old_str` is empty"),
        ({"command": "str_replace", "path": "a", "old_str": "x", "new_str": "x"}, "are the same"),
        ({"command": "create", "path": "a"}, "`file_text` is missing"),
        ({"command": "create", "path": "a", "file_text": 7}, "must be a string, not a number"),
        ({"command": "create", "path": "a", "file_text": "\ud800"}, "surrogate"),
        (
            {"command": "insert", "path": "a", "insert_line": "1", "insert_text": "x"},
            "whole number, not a string",
        ),
        ({"command": "insert", "path": "a", "insert_line": 1, "insert_text": ""}, "`insert_text` is empty"),
    ],
)
def test_malformed_editor_input_is_told_before_anything_runs(
    arguments: dict[str, object], words: str
) -> None:
    tool = Bench().toolbox.find(EDITOR)
    assert tool is not None
    with pytest.raises(ToolInputError, match=words):
        tool.prepare(arguments)


# Bash.


async def test_bash_puts_the_exit_code_first() -> None:
    result = await Bench(run=lambda _: CommandResult(3, "hello\n", False, False, 1_500)).call(
        "bash", command="x"
    )
    assert result.text == "exit code 3 (1.5 s)\nhello"
    assert not result.is_error


async def test_bash_without_output_says_so() -> None:
    result = await Bench(run=lambda _: CommandResult(0, "", False, False, 10)).call("bash", command="true")
    assert result.text == "exit code 0 (0.0 s)\n(no output)"


async def test_a_timed_out_command_is_an_error_that_names_the_time() -> None:
    bench = Bench(run=lambda _: CommandResult(137, "partial", False, True, 120_000))
    result = await bench.call("bash", command="sleep 1000")
    assert result.is_error
    assert result.text.startswith("timed out: killed after 120 s")
    assert bench.shell.timeouts_s == [120]


async def test_failing_lines_come_first_and_the_whole_output_is_one_view_away() -> None:
    lines = [f"test_{n} ok" for n in range(5_000)]
    lines[2_500] = "FAILED tests/test_x.py::test_it - AssertionError"
    bench = Bench(run=lambda _: CommandResult(1, "\n".join(lines), False, False, 10))
    result = await bench.call("bash", command="pytest")
    assert len(result.text) < 22_000
    head = result.text.split("\n")[:4]
    assert head[0] == "exit code 1 (0.0 s)"
    assert head[2] == "  2501\tFAILED tests/test_x.py::test_it - AssertionError"
    assert "test_0 ok" in result.text
    assert "test_4999 ok" in result.text
    assert "@output/1" in result.text
    middle = await bench.edit("view", "@output/1", view_range=[2_501, 2_501])
    assert middle.text == "  2501\tFAILED tests/test_x.py::test_it - AssertionError"


async def test_kept_outputs_are_bounded_and_cannot_be_edited() -> None:
    bench = Bench(run=lambda _: CommandResult(0, "x\n" * 20_000, False, False, 10))
    for _ in range(9):
        await bench.call("bash", command="yes")
    assert "no longer kept" in (await bench.edit("view", "@output/1")).text
    assert not (await bench.edit("view", "@output/9")).is_error
    assert (await bench.edit("str_replace", "@output/9", old_str="x", new_str="y")).is_error


async def test_terminal_escapes_and_control_characters_do_not_reach_the_model() -> None:
    output = "\x1b[31mred\x1b[0m\x00\x07 50%\r100%\r\ndone\n"
    result = await Bench(run=lambda _: CommandResult(0, output, False, False, 0)).call("bash", command="x")
    assert result.text == "exit code 0 (0.0 s)\nred\ufffd\ufffd 50%\n100%\ndone"


async def test_restart_is_answered_politely_and_runs_nothing() -> None:
    bench = Bench()
    result = await bench.call("bash", restart=True)
    assert not result.is_error
    assert "fresh shell" in result.text
    assert bench.shell.commands == []


async def test_a_sandbox_that_does_not_work_is_no_tool_result() -> None:
    with pytest.raises(SandboxError):
        await Bench(run=lambda _: SandboxError("no user namespaces")).call("bash", command="ls")


async def test_a_lost_lease_is_no_tool_result() -> None:
    bench = Bench({"a.py": "x"})
    bench.files.fail_writes_with = LeaseLostError("stale")
    with pytest.raises(LeaseLostError):
        await bench.edit("create", "a.py", file_text="y")


@pytest.mark.parametrize("error", [WorkspaceError("the disk is full"), OSError(28, "the disk is full")])
async def test_a_file_system_that_refuses_is_a_clean_error(error: Exception) -> None:
    bench = Bench({"a.py": "x"})
    bench.files.fail_writes_with = error
    result = await bench.edit("create", "a.py", file_text="y")
    assert result.is_error
    assert "the disk is full" in result.text


async def test_a_call_that_hangs_is_stopped_at_its_deadline() -> None:
    bench = Bench({"a.py": "x"})

    async def hang(path: str) -> None:
        await asyncio.Event().wait()

    bench.files.on_read = hang
    bench.toolbox = Toolbox(
        shell=bench.shell,
        files=bench.files,
        questions=bench.questions,
        command_timeout_s=1,
        call_deadline_s=0.01,
    )
    result = await bench.edit("view", "a.py")
    assert result.is_error
    assert "whether it had an effect is unknown" in result.text


async def test_no_result_is_longer_than_its_bound() -> None:
    bench = Bench({"a.py": "0123456789\n" * 100_000})
    assert len((await bench.edit("view", "a.py")).text) <= RESULT_CHARS + 200


# Search.

TREE = {
    "src/cart.py": "class Cart:\n    def add(self, item): ...\n",
    "src/deep/tax.py": "def add_tax(n):\n    return n  # ADD\n",
    "tests/test_cart.py": "def test_add(): ...\n",
    "notes.md": "a.b\naxb\n",
}


async def test_search_answers_path_line_and_text() -> None:
    result = await Bench(TREE).call("search", pattern=r"def add\w*\(")
    assert result.text.split("\n") == [
        "src/cart.py:2: def add(self, item): ...",
        "src/deep/tax.py:1: def add_tax(n):",
    ]


async def test_search_for_plain_text_takes_it_literally() -> None:
    bench = Bench(TREE)
    assert (await bench.call("search", pattern="a.b", literal=True)).text == "notes.md:1: a.b"
    assert len((await bench.call("search", pattern="a.b")).text.split("\n")) == 2


@pytest.mark.parametrize("literal", [True, False])
async def test_search_may_ignore_case(literal: bool) -> None:
    result = await Bench(TREE).call("search", pattern="# add", literal=literal, ignore_case=True)
    assert result.text == "src/deep/tax.py:2: return n  # ADD"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("src", {"src/cart.py", "src/deep/tax.py"}),
        ("src/", {"src/cart.py", "src/deep/tax.py"}),
        ("src/cart.py", {"src/cart.py"}),
        ("**/*cart.py", {"src/cart.py", "tests/test_cart.py"}),
        ("tests/*.py", {"tests/test_cart.py"}),
    ],
)
async def test_search_keeps_to_its_path(path: str, expected: set[str]) -> None:
    result = await Bench(TREE).call("search", pattern="add", path=path)
    assert {line.split(":")[0] for line in result.text.split("\n")} == expected


async def test_search_without_a_match_says_how_much_it_searched() -> None:
    assert (await Bench(TREE).call("search", pattern="zebra")).text == "No match in 4 files."


async def test_search_in_a_path_that_is_not_there_is_an_error() -> None:
    assert (await Bench(TREE).call("search", pattern="x", path="lib")).is_error


@pytest.mark.parametrize("literal", [True, False])
async def test_search_results_are_bounded(literal: bool) -> None:
    bench = Bench({f"f{n}.py": "match\n" * 50 for n in range(50)})
    lines = (await bench.call("search", pattern="match", literal=literal)).text.split("\n")
    assert len(lines) == 101
    assert "more than 100 matches" in lines[-1]


@pytest.mark.parametrize("pattern", ["(", "[a", "a{2,1}", "(?P<n>a)(?P<n>b)"])
async def test_an_invalid_pattern_is_explained(pattern: str) -> None:
    result = await Bench(TREE).call("search", pattern=pattern)
    assert result.is_error
    assert "not valid" in result.text


async def test_a_catastrophic_pattern_is_killed_at_the_deadline_and_the_loop_stays_free() -> None:
    bench = Bench({"a.txt": "a" * 5_000 + "!\n"})
    call = SearchTool(bench.files, timeout_s=0.5).prepare({"pattern": "(a+)+$"})
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0)
            ticks += 1

    async with asyncio.TaskGroup() as group:
        ticking = group.create_task(tick())
        result = await bench.toolbox.run(call)
        ticking.cancel()
    assert result.is_error
    assert "stopped after 0.5 s" in result.text
    assert ticks > 100


async def test_a_search_cancelled_midway_leaves_no_child_behind() -> None:
    bench = Bench({"a.txt": "a" * 5_000 + "!\n"})
    begun = asyncio.Event()

    async def note(path: str) -> None:
        begun.set()

    bench.files.on_read = note
    searching: asyncio.Task[ToolResult]
    async with asyncio.TaskGroup() as group:
        searching = group.create_task(bench.call("search", pattern="(a+)+$"))
        await begun.wait()
        searching.cancel()
    assert searching.cancelled()
    listing = subprocess.run(["ps", "-axo", "ppid=,args="], capture_output=True, text=True, check=True).stdout
    ours = [row for row in listing.splitlines() if row.split()[0] == str(os.getpid())]
    assert not [row for row in ours if "regex_child" in row]


async def test_search_passes_over_what_is_no_text() -> None:
    bench = Bench(TREE)

    async def refuse(path: str) -> None:
        if path == "notes.md":
            raise WorkspaceError("not text")
        if path == "src/cart.py":
            raise FileNotFoundError(2, "gone")

    bench.files.on_read = refuse
    result = await bench.call("search", pattern="add|axb")
    assert {line.split(":")[0] for line in result.text.split("\n")} == {
        "src/deep/tax.py",
        "tests/test_cart.py",
    }


# Questions and claims.


async def test_ask_human_stores_the_question_and_goes_on_with_the_default() -> None:
    bench = Bench()
    result = await bench.call("ask_human", question="Which format?", default="JSON")
    assert bench.questions.asked == [("Which format?", "JSON")]
    assert "assuming: JSON" in result.text


async def test_questions_are_bounded() -> None:
    bench = Bench()
    results = [await bench.call("ask_human", question=f"{n}?", default="x") for n in range(6)]
    assert [result.is_error for result in results] == [False] * 5 + [True]
    assert len(bench.questions.asked) == 5


def test_a_claim_is_read_and_bounded() -> None:
    claim = claim_of({"summary": " Did it. ", "decisions": ["a", " ", "b" * 5_000]})
    assert claim.summary == "Did it."
    assert claim.decisions == ("a", "b" * 1_000)


@pytest.mark.parametrize(
    "arguments", [{}, {"summary": " "}, {"summary": 3}, {"summary": "x", "decisions": "y"}]
)
def test_a_malformed_claim_is_told(arguments: dict[str, object]) -> None:
    with pytest.raises(ToolInputError):
        claim_of(arguments)
