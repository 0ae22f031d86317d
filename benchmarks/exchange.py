"""A sandbox exchange in a process of its own, so that what it costs is not taken for the recorder's.

The other end of a pipe says what it shall do, by the names that a :class:`Sandbox` has for it.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import operator
from collections.abc import Iterable
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Self

from recorder.clock import SystemClock
from recorder.sandbox.market import CHARACTERS, Character, Market, character_of
from recorder.sandbox.pairs import pair_of
from recorder.sandbox.server import Sandbox


@dataclass(frozen=True)
class Wanted:
    """What market it is: ``rate`` trades a second in all, the n-th pair 1/n of what the first has."""

    pairs: int
    rate: float
    history: int
    seed: int = 1
    truth: Path | None = None


def characters(pairs: int) -> list[Character]:
    """Return so many, the usual six first, with long-tailed rates (Zipf's law)."""
    more = [character_of(pair_of(f"P{n}/USD", pair_decimals=4, lot_decimals=8)) for n in range(pairs)]
    return [replace(one, weight=1 / rank) for rank, one in enumerate([*CHARACTERS, *more][:pairs], 1)]


class Exchange:
    """The process. Every call waits for what it answers."""

    def __init__(self, wanted: Wanted) -> None:
        self._pipe, there = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(target=_run, args=(there, wanted), daemon=True)
        self._process.start()
        there.close()
        self.rest_url, self.ws_url, self.pairs = self._answer()

    @property
    def pid(self) -> int:
        """Its number, for those who measure it."""
        assert self._process.pid is not None
        return self._process.pid

    def do(self, what: str, *arguments: object, **options: object) -> Any:  # noqa: ANN401 -- whatever a sandbox returns
        """Call a method by its name, such as ``faults.outage``, and return what it returns."""
        self._pipe.send((what, arguments, options))
        return self._answer()

    def _answer(self) -> Any:  # noqa: ANN401
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def environ(self, **more: str) -> dict[str, str]:
        """Return the environment of a recorder that records all of it."""
        return {
            "RECORDER_PAIRS": ",".join(self.pairs),
            "RECORDER_EXCHANGE__REST_URL": self.rest_url,
            "RECORDER_EXCHANGE__WS_URL": self.ws_url,
            **more,
        }

    def close(self) -> None:
        """End it; the truth then holds everything that was made."""
        self._pipe.close()
        self._process.join(30)
        self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def cpu_s(pids: Iterable[int]) -> float:
    """Return the CPU time that processes have used so far, user and system, in seconds."""
    return sum(_ticks(pid) for pid in pids) / 100


def _ticks(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return int(fields[11]) + int(fields[12])


def _run(pipe: Connection, wanted: Wanted) -> None:
    asyncio.run(_serve(pipe, wanted))


async def _serve(pipe: Connection, wanted: Wanted) -> None:
    clock = SystemClock()
    market = Market(
        start_ns=clock.wall_ns(),
        seed=wanted.seed,
        rate=wanted.rate,
        history=wanted.history,
        characters=characters(wanted.pairs),
    )
    sandbox = Sandbox(market, clock=clock, truth=wanted.truth, seed=wanted.seed)
    async with sandbox.serve():
        pipe.send((sandbox.rest_url, sandbox.ws_url, [pair.symbol for pair in market.listing.pairs]))
        while True:
            try:
                what, arguments, options = await asyncio.to_thread(pipe.recv)
            except EOFError:
                return
            try:
                found = operator.attrgetter(what)(sandbox)(*arguments, **options)
                pipe.send(found if isinstance(found, (int, dict, list)) else None)
            except Exception as error:  # noqa: BLE001 -- for the other side to raise
                pipe.send(error)
