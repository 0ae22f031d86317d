"""The line in which a terminal shows that the recorder lives: trades, pairs, gaps and the last trade."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Final

from recorder.clock import Clock
from recorder.core.ledger import Ledger

EVERY_S: Final = 1.0


class StatusLine:
    """Composes the line once a second, and passes it to ``show``, which must not block."""

    def __init__(
        self,
        ledger: Ledger,
        pairs: Collection[str],
        problems: Callable[[], Sequence[str]],
        *,
        clock: Clock,
        show: Callable[[str], None],
    ) -> None:
        """Take the live ``pairs`` of ``ledger``, and what returns why nothing can be recorded now, empty if it can."""
        self._ledger = ledger
        self._pairs = pairs
        self._problems = problems
        self._clock = clock
        self._show = show

    async def run(self) -> None:
        """Show the line until cancelled."""
        begun = self._held()
        while True:
            self._show(self._line(begun))
            await self._clock.sleep(EVERY_S)

    def _held(self) -> int:
        return sum(self._ledger.of(pair).spans.count() for pair in self._pairs)

    def _line(self, begun: int) -> str:
        """Return the line, some 60 characters: the trades held beyond ``begun``, and all gaps."""
        accounts = [self._ledger.of(pair) for pair in self._pairs]
        gaps = [gap for account in accounts for gap in account.gaps()]
        missing = f" ({sum(len(gap.span) for gap in gaps):,} ids)" if gaps else ""
        last_us = max((account.last_us for account in accounts if account.last_us is not None), default=None)
        last = (
            "no trade yet" if last_us is None else f"last {datetime.fromtimestamp(last_us // 1_000_000, UTC):%H:%M:%S}"
        )
        new = max(0, self._held() - begun)  # files that cannot be trusted any more take their trades away
        facts = f"+{_counted(new, 'trade')}, {_counted(len(accounts), 'pair')}, {_counted(len(gaps), 'gap')}{missing}"
        return "; ".join([f"{facts}, {last}", *self._problems()])


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _time_of_day(time_us: int) -> str:
    return f"{datetime.fromtimestamp(time_us // 1_000_000, UTC):%H:%M:%S}"
