"""A folder of its own for one command or probe, gone when that is over.

Separate because it is made and removed in threads, which a cancellation does not end: a folder that is
just being made must still be removed.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path


@asynccontextmanager
async def scratch_folder(prefix: str) -> AsyncIterator[Path]:
    """Make a folder whose name begins with `prefix`; its path has no symbolic links. Raises OSError."""
    make = partial(tempfile.TemporaryDirectory, prefix=prefix)
    making = asyncio.get_running_loop().run_in_executor(None, make)
    try:
        scratch = await asyncio.shield(making)
        yield await asyncio.to_thread(Path(scratch.name).resolve)
    finally:
        await asyncio.shield(_removed(making))


async def _removed(making: asyncio.Future[tempfile.TemporaryDirectory[str]]) -> None:
    await asyncio.wait({making})
    if making.exception() is None:  # Else none was made, and who waits for it is told.
        await asyncio.to_thread(making.result().cleanup)
