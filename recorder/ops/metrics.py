"""What the daemon counts, under Prometheus names. A trade is counted only once it is durable."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from recorder.core.ledger import Run
from recorder.errors import ExchangeError


class Metrics:
    """All series of one daemon, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.frames = Counter("recorder_frames", "Lines that are durable in the journal", registry=registry)
        self.trades = Counter(
            "recorder_trades", "Live trades that are durable in the journal", ["pair"], registry=registry
        )
        self.last_id = Gauge(
            "recorder_last_trade_id", "Highest live trade id that is durable", ["pair"], registry=registry
        )
        self.last_time = Gauge(
            "recorder_last_trade_time_seconds", "Exchange time of that trade", ["pair"], registry=registry
        )
        self.commit_seconds = Histogram(
            "recorder_commit_seconds",
            "Time of one group commit (write and sync)",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3),
            registry=registry,
        )
        self.rows_archived = Counter(
            "recorder_rows_archived", "Trades moved from the journal to the archive", registry=registry
        )
        self.refilled = Counter("recorder_rows_refilled", "Trades fetched from REST to close holes", registry=registry)
        self.holes_closed = Counter("recorder_holes_closed", "Holes closed from REST", registry=registry)
        self.compacted = Counter("recorder_files_compacted", "Files merged into larger ones", registry=registry)
        self.connects = Counter("recorder_connects", "WebSocket connections opened", registry=registry)
        self.up = Gauge("recorder_stream_up", "Whether a WebSocket connection is open", registry=registry)
        self.rejected = Counter(
            "recorder_subscriptions_refused", "Subscriptions that the exchange refused", registry=registry
        )
        self.unreadable = Counter("recorder_frames_unreadable", "Frames kept but not understood", registry=registry)
        self.rest_failures = Counter(
            "recorder_rest_failures", "REST requests without a good answer", ["kind"], registry=registry
        )
        self.candle_answers = Counter(
            "recorder_candle_answers", "Answers with candles that were read", ["timeframe"], registry=registry
        )
        self.candle_slack = Gauge(
            "recorder_candle_slack_seconds",
            "Seconds until the exchange no longer serves a candle that is not held; below zero, candles are lost",
            registry=registry,
        )
        self.candle_slack.set(float("inf"))  # until candles are recorded

    def committed(self, claims: Iterable[Run], *, frames: int, seconds: float) -> None:
        """Count one group commit: the runs of trades that it made durable."""
        self.frames.inc(frames)
        self.commit_seconds.observe(seconds)
        counts: dict[str, int] = {}
        newest: dict[str, Run] = {}
        for run in claims:
            counts[run.pair] = counts.get(run.pair, 0) + len(run.span)
            if run.pair not in newest or run.span.last > newest[run.pair].span.last:
                newest[run.pair] = run
        for pair, run in newest.items():
            self.trades.labels(pair).inc(counts[pair])
            self.last_id.labels(pair).set(run.span.last)
            self.last_time.labels(pair).set(run.last_us / 1e6)

    def connected(self) -> None:
        """Count an open connection."""
        self.connects.inc()
        self.up.set(1)

    def disconnected(self) -> None:
        """Count the end of a connection, or of an attempt."""
        self.up.set(0)

    def rest_failed(self, error: ExchangeError) -> None:
        """Count a REST request without a good answer."""
        self.rest_failures.labels(type(error).__name__).inc()

    def text(self) -> bytes:
        """Return the exposition format."""
        return generate_latest(self.registry)
