"""The process that records quotes and books, as seen from the recorder: when it is begun, and what it shows of itself.

It is a process of its own because Python runs one thread at a time: beside these, which come far more often, trades
would wait for each step of the work on them. The tables that it locks are its own.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Sequence
from typing import Final

import structlog

from recorder.archive.datasets import BOOKS_JOURNAL, MARKET_JOURNAL, SCHEMA_FILE, written_by
from recorder.archive.layout import Layout
from recorder.config import Config
from recorder.core.backoff import GrowingDelay
from recorder.daemon.child_messages import State
from recorder.daemon.child_process import FIRST_S, LAST_S, WORKED_S, ChildProcess
from recorder.disk import undisturbed
from recorder.errors import RecorderError
from recorder.journal.live_read import has_lines
from recorder.runtime.context import Context
from recorder.runtime.waiting import first_of

COMMAND: Final = (sys.executable, "-m", "recorder.market")
LOOK_AFTER_S: Final = 86_400.0
"""How often it is begun to look after files of quotes while none are recorded."""

log = structlog.get_logger()


class MarketProcess(ChildProcess):
    """Runs the process while the configuration names pairs of quotes or books, and nothing holds it back."""

    name = "market"

    def __init__(
        self,
        config: Config,
        context: Context,
        *,
        has_work: Callable[[], bool] = lambda: False,
        command: Sequence[str] = COMMAND,
        memory: Callable[[int], int | None] | None = None,
    ) -> None:
        """Begin with ``config``. ``has_work`` returns whether an earlier run left anything to look after; it blocks."""
        super().__init__(config, context, command=command, memory=memory)
        self._given = config
        self._books_held = False
        self._metrics = context.metrics
        self._has_work = has_work
        self._pairs = self._books = 0
        self._metrics.market_running.set_function(lambda: self._pid is not None)

    @property
    def _configured(self) -> bool:
        return _names_pairs(self._config)

    def _count_end(self) -> None:
        self._metrics.market_ends.inc()

    def _log_end(self, **detail: object) -> None:
        log.error("the process that records quotes ended", **detail)

    def _log_kill(self, *, after_s: float) -> None:
        log.warning("the process that records quotes is killed: it did not end in time", after_s=after_s)

    def _learn(self, state: State) -> None:
        self._pairs, self._books, self._metrics.beside = state.pairs, state.books, state.metrics

    def _forget(self) -> None:
        self._pairs, self._books, self._metrics.beside = 0, 0, ""

    def want(self, config: Config) -> None:
        """Record by this configuration from now on."""
        self._given = config
        self._choose()

    def hold_books(self, *, waits: bool) -> None:
        """Record no books while the disk has little room, though enough for quotes."""
        if waits != self._books_held:
            self._books_held = waits
            self._choose()

    def _choose(self) -> None:
        """Choose by which configuration the process records."""
        books = self._given.books.model_copy(update={"pairs": ()})
        self._config = self._given.model_copy(update={"books": books}) if self._books_held else self._given
        self._changed.set()

    @property
    def about(self) -> dict[str, object] | None:
        """What there is to say of it; None if neither quotes nor books are to be recorded."""
        if not _names_pairs(self._given):
            return None
        return {
            "running": self._pid is not None,
            "held": self._held,
            "pairs": self._pairs,
            "books": self._books,
            "books_held": self._books_held and bool(self._given.books.pairs),
            "ends": self._ends,
        }

    async def run(self) -> None:
        """Run the process whenever it is wanted, until :meth:`stop`. If cancelled, end it without a drain.

        While neither is recorded, it is begun once a day, to look after what earlier runs left.
        """
        delay = GrowingDelay(FIRST_S, LAST_S)
        due_s, left = self._clock.monotonic(), False
        while not self._stopping:
            if not self._configured and self._clock.monotonic() >= due_s:
                due_s = self._clock.monotonic() + LOOK_AFTER_S
                left = await asyncio.to_thread(self._leaves_work)
            if not (self._wanted or (left and not self._held)):
                self._changed.clear()
                await first_of(self._changed.wait(), self._clock.sleep(LOOK_AFTER_S))
                continue
            started_s = self._clock.monotonic()
            code = await self._lifetime()
            if code is None or (left and code == 0):
                left = False
                continue
            if self._clock.monotonic() - started_s >= WORKED_S:
                delay.reset()
            retry_s = delay.failed()
            await self._report(code, retry_s)
            await first_of(self._clock.sleep(retry_s), self._until(lambda: self._stopping))

    def _leaves_work(self) -> bool:
        try:
            return self._has_work()
        except RecorderError as error:
            log.error("quotes of earlier runs not looked after", reason=str(error))
            return False


def leaves_work(layout: Layout) -> bool:
    """Return whether the process must run although it records nothing: to archive what is journalled, or for files.

    Raises UnlistedFolder, StorageError.
    """

    def has_files() -> bool:
        branches = (branch for name in names for dataset in written_by(name) for branch in layout.branches(dataset))
        return any(path.name != SCHEMA_FILE for branch in branches for path in layout.files(branch))

    names = (MARKET_JOURNAL, BOOKS_JOURNAL)
    has_left = any(has_lines(layout.journal_dir(name)) for name in names)
    return has_left or undisturbed(has_files, "the files of quotes and books")


def _names_pairs(config: Config) -> bool:
    return bool(config.quotes.pairs or config.books.pairs)
