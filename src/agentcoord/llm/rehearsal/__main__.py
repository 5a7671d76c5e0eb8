"""`python -m agentcoord.llm.rehearsal`: the rehearsal server as a process of its own.

Prints `{"base_url": "http://127.0.0.1:PORT"}` as one line on standard output when it listens,
and runs until SIGTERM or SIGINT. Errors go to standard error in words; exit code 2 for wrong
arguments or scripts, 1 when the port cannot be had.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agentcoord.errors import RehearsalScriptError
from agentcoord.llm.rehearsal.app import Options
from agentcoord.llm.rehearsal.books import Record
from agentcoord.llm.rehearsal.faults import Dice, FaultKind
from agentcoord.llm.rehearsal.rate_limits import Limits
from agentcoord.llm.rehearsal.scripts import Script, load_scripts
from agentcoord.llm.rehearsal.server import serve


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server; return the process's exit code."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        scripts = load_scripts(args.scripts)
    except RehearsalScriptError as error:
        for problem in error.problems or (error.message,):
            sys.stderr.write(f"rehearsal: {problem}\n")
        return 2
    try:
        asyncio.run(_serve_until_told(scripts, args))
    except OSError as error:
        sys.stderr.write(f"rehearsal: cannot serve on port {args.port}: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m agentcoord.llm.rehearsal",
        description="A local Messages API server that plays scripts.",
        epilog="example: python -m agentcoord.llm.rehearsal --scripts night/ --fault drop=0.05 --seed 7",
    )
    parser.add_argument("--scripts", type=Path, required=True, metavar="DIR_OR_FILE")
    parser.add_argument("--port", type=int, default=0, help="0: any free port (default)")
    parser.add_argument(
        "--ready-fd", type=int, metavar="N", help="also write the ready line to this descriptor"
    )
    parser.add_argument("--latency-scale", type=float, default=1.0, metavar="X")
    parser.add_argument("--log", type=Path, metavar="FILE", help="append a JSON line for each request")
    parser.add_argument("--seed", type=int, default=0, help="of the dice that throw faults")
    parser.add_argument(
        "--fault",
        type=_fault_probability,
        action="append",
        default=[],
        metavar="KIND=P",
        help=f"inject a fault with a probability; kinds: {', '.join(FaultKind)}",
    )
    parser.add_argument("--requests-per-minute", type=int, default=Limits().requests_per_minute, metavar="N")
    parser.add_argument(
        "--tokens-per-minute",
        type=int,
        metavar="N",
        help=f"of input, and of output (by default {Limits().input_tokens_per_minute} and "
        f"{Limits().output_tokens_per_minute})",
    )
    parser.add_argument(
        "--exit-with-parent", action="store_true", help="stop when standard input (a pipe) closes"
    )
    return parser


def _fault_probability(text: str) -> tuple[FaultKind, float]:
    kind, _, share = text.partition("=")
    try:
        probability = float(share)
        fault = FaultKind(kind)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not KIND=PROBABILITY") from error
    if not 0 <= probability <= 1:
        raise argparse.ArgumentTypeError(f"{text!r}: a probability is from 0 to 1")
    return fault, probability


async def _serve_until_told(scripts: dict[str, Script], args: argparse.Namespace) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    options = Options(
        latency_scale=args.latency_scale,
        dice=Dice(dict(args.fault), args.seed),
        limits=_limits_of(args),
        on_record=_Log(args.log).append if args.log else None,
    )
    async with contextlib.AsyncExitStack() as stack:
        if args.exit_with_parent:
            stack.callback((await _watch_stdin(stop)).close)
        server = await stack.enter_async_context(serve(scripts, port=args.port, options=options))
        _announce(json.dumps({"base_url": server.base_url}), args.ready_fd)
        await stop.wait()


def _limits_of(args: argparse.Namespace) -> Limits:
    requests = Limits(requests_per_minute=max(1, args.requests_per_minute))
    if args.tokens_per_minute is None:
        return requests
    tokens = max(1, args.tokens_per_minute)
    return replace(requests, input_tokens_per_minute=tokens, output_tokens_per_minute=tokens)


def _announce(line: str, ready_fd: int | None) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
    if ready_fd is not None:
        os.write(ready_fd, f"{line}\n".encode())
        os.close(ready_fd)


class _UntilEof(asyncio.Protocol):
    """Sets an event when its pipe closes; what is written to it is ignored."""

    def __init__(self, closed: asyncio.Event) -> None:
        self._closed = closed

    def eof_received(self) -> None:
        self._closed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._closed.set()


async def _watch_stdin(stop: asyncio.Event) -> asyncio.ReadTransport:
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: _UntilEof(stop), sys.stdin)
    return transport


class _Log:
    """Appends a JSON line for each request, off the event loop, one at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = asyncio.Lock()

    async def append(self, record: Record) -> None:
        line = json.dumps(record.to_dict()) + "\n"
        async with self._turn:
            await asyncio.to_thread(self._append, line)

    def _append(self, line: str) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(line)


if __name__ == "__main__":
    sys.exit(main())
