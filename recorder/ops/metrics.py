"""Prometheus metrics of the daemon. A trade is counted only once it is durable.

Names follow Prometheus: base units (seconds, bytes), ``_total`` for values that only grow, times as timestamps. Values
known elsewhere at any time (the inbox, the ledger, the disk) are read at each scrape, and cost nothing in between.
"""

from __future__ import annotations

import math
import platform
from collections.abc import Collection, Iterator
from typing import Final

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from recorder.core.ledger import Ledger
from recorder.errors import ExchangeError
from recorder.version import __version__

PAIRS_LIMIT: Final = 1000
"""Limit of pairs with a series of their own, the first by name: Prometheus pays for each series for ever."""
GOOD: Final = "ok"
"""The outcome of a successful REST request."""
_OF_EACH_PROCESS: Final = frozenset(
    f"recorder_{name}"
    for name in (
        "frames", "journal_written_bytes", "commit_duration_seconds", "receive_to_durable_seconds", "inbox_bytes",
        "journal_unsynced_seconds", "journal_bytes", "drain_duration_seconds", "last_drain_timestamp_seconds",
        "files_compacted", "connects", "disconnects", "connections_open", "connections_wanted", "connect_pause_seconds",
        "subscriptions_refused", "frames_unreadable", "rest_requests", "rest_failures",
    )
)  # fmt: skip
"""The series that tell something of a process that records no trades."""
_FAST_S: Final = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30)
_SLOW_S: Final = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300)


class Metrics:
    """All series of one daemon, in a separate registry."""

    beside: str = ""
    """Metrics of the process that records quotes, as it exposed them last; empty while it does not run."""

    def __init__(self) -> None:
        # Disables a second series beside each counter, which no rule or panel needs.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        registry = self.registry
        _about(registry)

        # From the socket to the journal.
        self.frames = Counter(
            "recorder_frames",
            "Lines that are durable in the journal, by where they came from",
            ["source"],
            registry=registry,
        )
        self.trades = Counter(
            "recorder_trades", "Trades that became durable in the journal, as they came", ["source"], registry=registry
        )
        self.bytes = Counter(
            "recorder_journal_written_bytes", "Bytes that are durable in the journal", ["source"], registry=registry
        )
        for source in ("ws", "rest", "note"):
            for counter in (self.frames, self.trades, self.bytes):
                counter.labels(source)  # export zero: a rate needs a beginning
        self.commit_seconds = Histogram(
            "recorder_commit_duration_seconds",
            "Time of one group commit (write and sync)",
            buckets=_FAST_S,
            registry=registry,
        )
        self.durable_seconds = Histogram(
            "recorder_receive_to_durable_seconds",
            "Time from receipt to durable; of each group commit the line that waited longest",
            buckets=_FAST_S,
            registry=registry,
        )
        self.feed_seconds = Histogram(
            "recorder_exchange_to_receive_seconds",
            "Time from a trade's exchange time to its receipt by the host's clock; the newest live trade of a commit",
            buckets=_FAST_S,
            registry=registry,
        )
        self.renumbered, self.quarantined, self.quarantined_bytes = _set_aside(registry)
        self.inbox_bytes = Gauge("recorder_inbox_bytes", "Bytes received that wait for a commit", registry=registry)
        self.inbox_limit = Gauge(
            "recorder_inbox_limit_bytes", "Bytes at which the inbox is full and the socket waits", registry=registry
        )
        self.unsynced_seconds = Gauge(
            "recorder_journal_unsynced_seconds", "Age of the oldest line that is not durable yet", registry=registry
        )
        self.journal_bytes = Gauge(
            "recorder_journal_bytes", "Bytes in the journal that are not in the archive yet", registry=registry
        )

        # From the journal to the archive.
        self.drain_seconds = Histogram(
            "recorder_drain_duration_seconds", "Time of one drain of the journal", buckets=_SLOW_S, registry=registry
        )
        self.drained_at = Gauge(
            "recorder_last_drain_timestamp_seconds", "When the last drain ended; 0 before the first", registry=registry
        )
        self.rows_archived = Counter(
            "recorder_rows_archived", "Trades moved from the journal to the archive", registry=registry
        )
        self.compaction_seconds = Histogram(
            "recorder_compaction_duration_seconds", "Time of one merge of files", buckets=_SLOW_S, registry=registry
        )
        self.compacted = Counter("recorder_files_compacted", "Files merged into larger ones", registry=registry)

        # Missing and repaired data.
        self.refilled, self.holes_closed = (
            Counter("recorder_rows_refilled", "Trades fetched from REST to close holes", registry=registry),
            Counter("recorder_holes_closed", "Holes closed, by whatever came", registry=registry),
        )

        self.memory_differences, self.certificates_broken = _differences(registry)

        # The exchange.
        self.connects = Counter("recorder_connects", "WebSocket connections opened", registry=registry)
        self.disconnects = Counter(
            "recorder_disconnects",
            "Ends of a connection: ended by the other side, hung up by us, not opened at all, or no pair left on it",
            ["reason"],
            registry=registry,
        )
        for reason in ("ended", "hung_up", "not_opened", "emptied"):
            self.disconnects.labels(reason)
        self.connections_open = Gauge("recorder_connections_open", "WebSocket connections open", registry=registry)
        self.connections_wanted = Gauge(
            "recorder_connections_wanted", "WebSocket connections that the pairs are spread over", registry=registry
        )
        self.rejected = Counter(
            "recorder_subscriptions_refused", "Subscriptions that the exchange refused", registry=registry
        )
        self.unreadable = Counter("recorder_frames_unreadable", "Frames stored but not understood", registry=registry)
        self.requests = Counter(
            "recorder_rest_requests",
            "REST requests sent, by how they ended",
            ["endpoint", "outcome"],
            registry=registry,
        )
        self.rest_failures = Counter(
            "recorder_rest_failures",
            "REST requests without a good answer, those included that came and could not be read",
            ["kind"],
            registry=registry,
        )
        self.pace = Gauge(
            "recorder_rest_requests_per_second", "Pace at which REST may be asked at present", registry=registry
        )
        self.throttled_seconds = Counter(
            "recorder_rest_throttled_seconds", "Pauses that refusals have cost, added up", registry=registry
        )
        self.rest_wait, self.connect_wait = _waits(registry)
        self.candle_answers = Counter(
            "recorder_candle_answers", "Answers with candles that were read", ["timeframe"], registry=registry
        )
        self.candle_slack = Gauge(
            "recorder_candle_slack_seconds",
            "Seconds until the exchange no longer serves a candle that is not held; below zero, candles are lost",
            registry=registry,
        )
        self.candle_slack.set(math.inf)  # until candles are recorded

        # The host.
        self.clock_offset = Gauge(
            "recorder_clock_offset_seconds",
            "How far the host's clock is ahead of the exchange's, by Date headers; not a number until one came",
            registry=registry,
        )
        self.clock_offset.set(math.nan)
        self.clock_steps = Counter(
            "recorder_clock_steps", "Steps of the host's clock: it was set, or the machine slept", registry=registry
        )
        self.disk_free = Gauge(
            "recorder_disk_free_bytes", "Bytes that may still be written where the archive lies", registry=registry
        )
        self.disk_size = Gauge("recorder_disk_size_bytes", "Bytes of that file system", registry=registry)
        self.runway = Gauge(
            "recorder_disk_runway_seconds",
            "Time until that disk is full if the archive grows on as in the last day; infinite while it does not",
            registry=registry,
        )
        self.runway.set(math.inf)
        self.archive_files = Gauge("recorder_archive_files", "Files in the archive's folder", registry=registry)
        self.archive_bytes = Gauge("recorder_archive_bytes", "Bytes of these files", registry=registry)

        self.market_running, self.market_ends = _market(registry)
        self.ready = Gauge("recorder_ready", "Whether /ready says that it is recording", registry=registry)

    def watch(self, ledger: Ledger, pairs: Collection[str]) -> None:
        """Export what ``ledger`` contains for ``pairs`` (live) at each scrape."""
        self.registry.register(_LedgerCollector(ledger, pairs))

    def durable(self, source: str, *, frames: int, trades: int, size: int) -> None:
        """Count durable lines of one ``source`` (``ws``, ``rest`` or ``note``)."""
        self.frames.labels(source).inc(frames)
        self.trades.labels(source).inc(trades)
        self.bytes.labels(source).inc(size)

    def drained(self, seconds: float, now_ns: int) -> None:
        """Count a drain that took ``seconds`` and ended at ``now_ns``, by the wall clock."""
        self.drain_seconds.observe(seconds)
        self.drained_at.set(now_ns / 1e9)

    def connected(self) -> None:
        """Count an opened connection."""
        self.connects.inc()

    def disconnected(self, reason: str) -> None:
        """Count the end of a connection (``ended``, ``hung_up``, ``emptied``), or of an attempt (``not_opened``)."""
        self.disconnects.labels(reason).inc()

    def rest_failed(self, error: ExchangeError) -> None:
        """Count a failed REST request."""
        self.rest_failures.labels(type(error).__name__).inc()

    def requested(self, path: str, error: ExchangeError | None) -> None:
        """Count a REST request that was sent: by the path of its endpoint, and its outcome."""
        outcome = GOOD if error is None else type(error).__name__
        self.requests.labels(path.rpartition("/")[2], outcome).inc()

    def text(self) -> bytes:
        """Return all metrics in the exposition format, those of the process beside this one included."""
        return generate_latest(self.registry) + self.beside.encode()

    def text_beside(self, process: str) -> str:
        """Return the metrics of a process beside the daemon, with its name in theirs."""
        renamed = CollectorRegistry()
        renamed.register(_Renamed(self.registry, process))
        return generate_latest(renamed).decode()


def _about(registry: CollectorRegistry) -> None:
    ProcessCollector(registry=registry)
    build = Gauge("recorder_build_info", "What runs; always 1", ["version", "python"], registry=registry)
    build.labels(__version__, platform.python_version()).set(1)


def _set_aside(registry: CollectorRegistry) -> tuple[Gauge, Gauge, Gauge]:
    return (
        Gauge(
            "recorder_renumbered_pairs",
            "Pairs that the exchange numbers anew, and whose trades are set aside",
            registry=registry,
        ),
        Gauge(
            "recorder_quarantined_pairs",
            "Pairs with a file of trades that cannot be trusted, and whose lines wait in the quarantine",
            registry=registry,
        ),
        Gauge(
            "recorder_quarantined_waiting_bytes",
            "Bytes of lines that wait in the quarantine until the files of their pairs can be trusted again",
            registry=registry,
        ),
    )


def _differences(registry: CollectorRegistry) -> tuple[Counter, Counter]:
    return (
        Counter(
            "recorder_memory_differences",
            "Pairs of which something that was held for stored was found not to be on the disk, at each look",
            registry=registry,
        ),
        Counter(
            "recorder_certificates_broken",
            "Days that were found to hold other content than what was certified, at each look",
            registry=registry,
        ),
    )


def _market(registry: CollectorRegistry) -> tuple[Gauge, Counter]:
    return (
        Gauge("recorder_market_running", "Whether the process that records quotes runs", registry=registry),
        Counter(
            "recorder_market_ends",
            "Ends of the process that records quotes that nobody asked for",
            registry=registry,
        ),
    )


def _waits(registry: CollectorRegistry) -> tuple[Gauge, Gauge]:
    return (
        Gauge(
            "recorder_rest_pause_seconds",
            "Seconds until what a refusal stopped may be asked for again, the longest of any path; 0 while nothing is",
            registry=registry,
        ),
        Gauge(
            "recorder_connect_pause_seconds",
            "Seconds until a WebSocket may be opened again, after a refusal or too many attempts; 0 while it may",
            registry=registry,
        ),
    )


class _Renamed(Collector):
    """The series of a registry that every process has, under names with that of the process."""

    def __init__(self, registry: CollectorRegistry, process: str) -> None:
        self._registry = registry
        self._prefix = f"recorder_{process}_"

    def describe(self) -> Iterator[Metric]:
        yield from ()

    def collect(self) -> Iterator[Metric]:
        for family in self._registry.collect():
            if family.name in _OF_EACH_PROCESS or family.name.startswith("process_"):
                family.name = self._named(family.name)
                family.samples = [sample._replace(name=self._named(sample.name)) for sample in family.samples]
                yield family

    def _named(self, name: str) -> str:
        return self._prefix + name.removeprefix("recorder_")


class _LedgerCollector(Collector):
    """Metrics of the recorded pairs, read from the ledger: the series of a pair end when it is removed."""

    def __init__(self, ledger: Ledger, pairs: Collection[str]) -> None:
        self._ledger = ledger
        self._pairs = pairs

    def collect(self) -> Iterator[Metric]:
        accounts = {pair: self._ledger.of(pair) for pair in sorted(self._pairs)}
        gaps = [gap for account in accounts.values() for gap in account.gaps()]
        yield GaugeMetricFamily("recorder_pairs", "Pairs that are recorded", len(accounts))
        yield GaugeMetricFamily("recorder_holes_open", "Gaps between stored trades of these pairs", len(gaps))
        yield GaugeMetricFamily("recorder_ids_missing", "Ids missing in these gaps", sum(len(gap.span) for gap in gaps))
        vanished = sum(account.given_up().count() for account in accounts.values())
        yield GaugeMetricFamily(
            "recorder_ids_vanished",
            "Of the missing ids those that were certified, and are not fetched again unless the owner asks for them",
            vanished,
        )
        newest = GaugeMetricFamily(
            "recorder_last_trade_timestamp_seconds",
            f"Exchange time of the newest trade held; of the first {PAIRS_LIMIT} pairs by name",
            labels=["pair"],
        )
        for pair in list(accounts)[:PAIRS_LIMIT]:
            last_us = accounts[pair].last_us
            if last_us is not None:
                newest.add_metric([pair], last_us / 1e6)
        yield newest
