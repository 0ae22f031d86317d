"""Reloading of the configuration on request, and application of the settings that may change while recording.

All or nothing: a configuration with a mistake changes nothing, and a valid one is applied between two steps of any
other task.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog

from recorder.collectors.candles import CandleCollector, Wanted
from recorder.collectors.pair_list import PairList, some
from recorder.config import LIVE, Config, differences, with_live
from recorder.core.throttling import Pace
from recorder.daemon.maintenance import Maintenance
from recorder.daemon.market_process import MarketProcess
from recorder.errors import ConfigError
from recorder.ingest.commit import Commit
from recorder.ingest.drain import Drainer
from recorder.ingest.drain_schedule import DrainSchedule
from recorder.repair.gap_repair import Repair
from recorder.runtime.waiting import first_of

STDERR: Final = 2
"""File descriptor of the log."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Source of a configuration: ``read`` reads it (blocks; raises ConfigError), again when ``requested`` is set."""

    read: Callable[[], Config]
    requested: asyncio.Event = field(default_factory=asyncio.Event)

    def on_signal(self, stop: Callable[[], None], *, terminal: int = STDERR) -> None:
        """Handle SIGHUP of this process from now on: reload or, if it means that our ``terminal`` is gone, stop."""
        attended = os.isatty(terminal)

        def hung_up() -> None:
            if attended and not os.isatty(terminal):
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, terminal)  # otherwise the next log line would fail
                os.close(nowhere)
                stop()
            else:
                self.requested.set()

        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hung_up)


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """The parts that a new configuration is passed to. Other parts read the configuration when they need it."""

    pace: Pace
    ohlc: CandleCollector
    commit: Commit
    maintenance: Maintenance
    drainer: Drainer
    drain: DrainSchedule
    repair: Repair
    market: MarketProcess

    def apply(self, config: Config) -> None:
        """Pass its settings to each part. Nothing here fails or waits, so that no change is partial."""
        self.pace.set_rate(config.exchange.requests_per_second)
        self.ohlc.want(candles(config))
        self.commit.sync_every_s = config.journal.sync_every
        self.maintenance.keep_s = config.journal.keep
        self.drainer.keep_raw = config.journal.keep > 0
        self.drain.want(config.drain_every_s)
        self.repair.want_history(config.trades.backfill_from)
        self.market.want(config)


def candles(config: Config) -> Wanted:
    """Return the candles that ``config`` wants."""
    return Wanted(config.ohlc.timeframes, config.ohlc.refresh, config.exchange.requests_per_second)


class Reload:
    """Applies the configuration from ``source`` in place of the ``running`` one.

    The pairs are passed to ``pair_list``; ``apply`` is then called with the configuration in force from now on.
    """

    def __init__(
        self, running: Config, source: ConfigSource, pair_list: PairList, apply: Callable[[Config], None]
    ) -> None:
        self._running = running
        self._source = source
        self._pair_list = pair_list
        self._take = apply

    async def run(self) -> None:
        """Reload on request until cancelled. A new request does not wait for the previous one to end.

        A reload may wait for minutes, if it needs a listing first while requests are throttled.
        """
        while True:
            await self._source.requested.wait()
            self._source.requested.clear()
            reloading = asyncio.create_task(self._reload())
            try:
                await first_of(asyncio.wait([reloading]), self._source.requested.wait())
            finally:
                reloading.cancel()
                await asyncio.wait([reloading])
            if not reloading.cancelled():
                reloading.result()

    async def _reload(self) -> None:
        try:
            wanted = await asyncio.to_thread(self._source.read)
            added, removed = await self._pair_list.rename(wanted.pairs)
        except ConfigError as error:
            log.error("configuration not applied; recording continues unchanged", reason=_line(str(error)))
            return
        changed = differences(self._running, wanted)
        self._running = with_live(self._running, wanted)
        self._take(self._running)
        if fixed := [key for key in changed if key not in LIVE]:
            verb = "changes" if len(fixed) == 1 else "change"
            log.warning(
                "part of the configuration needs a restart", reason=f"{_list(fixed)} {verb} with a restart only"
            )
        live = [key for key in changed if key in LIVE]
        fields: dict[str, object] = {"changed": " ".join(live) or "nothing"}
        if added:
            fields |= {"added": some(added), "added_count": len(added)}
        if removed:
            fields |= {"removed": some(removed), "removed_count": len(removed)}
        if "ohlc.timeframes" in live:
            fields["timeframes"] = " ".join(wanted.ohlc.timeframes) or "none"
        log.info("configuration read again", **fields, pairs=len(self._pair_list.instruments))


def _line(text: str) -> str:
    return "; ".join(text.splitlines())


def _list(words: Sequence[str]) -> str:
    """Join words as in a sentence."""
    return " and ".join(filter(None, [", ".join(words[:-1]), words[-1]]))
