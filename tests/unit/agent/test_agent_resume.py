"""A process killed between any two records of its transcript: the next one sends the same bytes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent_fakes import MemoryFiles, ScriptedGateway
from test_agent_loop import SCRIPT, Night

from agentcoord.agent.loop import ClaimsFinished
from agentcoord.agent.ports import WriteOutcome


@dataclass
class WatchedFiles(MemoryFiles):
    """A private copy that remembers how it was, by how many records were on the disk at each write."""

    transcript: Path = Path()
    states: list[tuple[int, dict[str, str]]] = field(default_factory=list)

    async def write_text(self, path: str, text: str, *, newline: str = "\n") -> WriteOutcome:
        outcome = await super().write_text(path, text, newline=newline)
        self.states.append((len(records_in(self.transcript)), dict(self.texts)))
        return outcome

    def at(self, records: int) -> dict[str, str]:
        """The files of a process that died with so many records on the disk, before any later write."""
        before = [texts for on_disk, texts in self.states if on_disk < records]
        return dict(before[-1] if before else self.base)


def records_in(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []


def watched(path: Path) -> WatchedFiles:
    files = WatchedFiles.__new__(WatchedFiles)
    MemoryFiles.__init__(files, {"src/a.py": "a = 1\n"})
    files.transcript, files.states = path, []
    return files


async def play_whole(path: Path) -> tuple[Night, WatchedFiles]:
    night = Night(path, *SCRIPT)
    night.files = files = watched(path)
    night.reopen(*SCRIPT)
    assert isinstance(await night.run(), ClaimsFinished)
    return night, files


async def test_whatever_record_was_the_last_the_conversation_goes_on_byte_for_byte(tmp_path: Path) -> None:
    whole, files = await play_whole(tmp_path / "whole.jsonl")
    records, lines = records_in(whole.path), whole.path.read_bytes().splitlines(keepends=True)
    kinds = [record["kind"] for record in records]
    assert {"turn", "began", "results"} <= set(kinds)
    in_mid_call = 0
    for last in range(1, len(records) + 1):
        path = tmp_path / f"{last}.jsonl"
        path.write_bytes(b"".join(lines[:last]))
        turns = kinds[:last].count("turn")
        night = Night(path)
        night.files.texts = files.at(last)
        night.gateway = ScriptedGateway(*SCRIPT[turns:])
        night.reopen(*SCRIPT[turns:])
        assert isinstance(await night.run(), ClaimsFinished)
        expected = whole.gateway.sent[turns:]
        if kinds[last - 1] == "began":
            # Nobody knows what that call did; all that came before it is sent as it was.
            in_mid_call += 1
            earlier = json.loads(expected[0])[1][:-1]
            assert night.gateway.sent[0].startswith(
                json.dumps([whole.transcript.system, earlier])[:-2].encode()
            )
            assert "outcome is unknown" in night.gateway.sent[0].decode()
        else:
            assert night.gateway.sent == expected, f"after record {last}, {kinds[last - 1]}"
            assert records_in(path) == records
    assert in_mid_call == kinds.count("began") > 0
