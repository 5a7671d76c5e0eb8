"""Bringing a record that a crash cut short to one of its two ends, from what lies on the disk.

- PREPARED: no target was touched. The siblings go, the record is forgotten.
- SWAPPING: the right to land had been verified, so the rest goes in too, if every target
  still is its base; else all that went in comes out again.
- DONE: only the siblings are left to remove.

Running it twice, or crashing within it, changes nothing: each step is told from the disk anew.
"""

from __future__ import annotations

from typing import assert_never

from agentcoord.errors import WorkspaceError
from agentcoord.workspace.exchanges import Position
from agentcoord.workspace.history import Operation, Phase, Record, Swap
from agentcoord.workspace.journal import Journal
from agentcoord.workspace.swaps import Swapper


def recover(journal: Journal, swapper: Swapper) -> list[Record]:
    """Finish every record that is unfinished; return those that happened after all.

    Blocking. Raises WorkspaceError when the disk refuses; the record then stays unfinished.
    """
    happened = []
    for record in journal.load(from_disk=True):
        try:
            match record.phase:
                case Phase.PREPARED:
                    forget(journal, swapper, record)
                case Phase.SWAPPING:
                    ended = _finish(journal, swapper, record)
                    if ended.happened:
                        happened.append(ended)
                case Phase.DONE:
                    happened.append(settle(journal, swapper, record))
                case Phase.SETTLED | Phase.ABANDONED:
                    pass
                case _:
                    assert_never(record.phase)
        except OSError as error:
            raise WorkspaceError(
                f"the landing of {record.task} was cut short and cannot be finished now: {error}",
                mend="make the disk writable, then start again",
            ) from error
    return happened


def forget_prepared(journal: Journal, swapper: Swapper) -> None:
    """Drop every record that touched no target: what a cancelled or refused landing leaves."""
    for record in journal.load():
        if record.phase is Phase.PREPARED:
            forget(journal, swapper, record)


def forget(journal: Journal, swapper: Swapper, record: Record) -> None:
    """Drop a record that touched no target."""
    swapper.clear(record.swaps, _folders_made_by(record, Operation.LAND))
    journal.remove(record)


def settle(journal: Journal, swapper: Swapper, record: Record) -> Record:
    """Clear away after a record that happened: siblings, and folders that an undo left empty."""
    swapper.clear(record.swaps, _folders_made_by(record, Operation.UNDO))
    return journal.advance(record, Phase.SETTLED)


def abandon(journal: Journal, swapper: Swapper, record: Record) -> Record:
    """Note that everything was put back, and clear away."""
    swapper.sync_folders(record.swaps)
    swapper.clear(record.swaps, _folders_made_by(record, Operation.LAND))
    return journal.advance(record, Phase.ABANDONED)


def take_back(journal: Journal, swapper: Swapper, record: Record) -> Record:
    """Put back all that went in, wherever it stopped, and abandon the record."""
    positions = [(swap, swapper.position(swap)) for swap in record.swaps]
    for swap, position in positions:
        if position is Position.DISPLACED:
            swapper.give_back(swap)
    swapper.put_all_back([swap for swap, position in positions if position is Position.DONE])
    return abandon(journal, swapper, record)


def _finish(journal: Journal, swapper: Swapper, record: Record) -> Record:
    """Put in what is not in yet; take all back when a target is not its base."""
    positions = {swap: swapper.position(swap) for swap in record.swaps}
    waiting = [swap for swap, position in positions.items() if position is Position.WAITING]
    displaced = Position.DISPLACED in positions.values()
    if displaced or not all(_put_in(swapper, swap) for swap in waiting):
        return take_back(journal, swapper, record)
    swapper.sync_folders(record.swaps)
    return settle(journal, swapper, journal.advance(record, Phase.DONE))


def _put_in(swapper: Swapper, swap: Swap) -> bool:
    try:
        swapper.ensure_sibling(swap)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return swapper.put_in(swap)


def _folders_made_by(record: Record, operation: Operation) -> tuple[str, ...]:
    """An undo lists the folders that its landings had made; each operation clears them at another end."""
    return record.made_folders if record.operation is operation else ()
