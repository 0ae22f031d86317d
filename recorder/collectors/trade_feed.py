"""Trades as a stream delivers them: their journal lines, and the highest id heard of each pair."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import structlog

from recorder.core.model import Trade
from recorder.core.plausibility import is_far
from recorder.core.report_limit import ReportLimit
from recorder.core.trade_ids import Run
from recorder.journal import segment
from recorder.kraken import records, trade_frames
from recorder.kraken.channels import TRADES, Channel
from recorder.kraken.websocket_session import PartialRows, Session, TradeRows
from recorder.ops.metrics import Metrics
from recorder.runtime.inbox import Inbound

_NOTHING: Final = (0, b"")

log = structlog.get_logger()


class TradeFeed:
    """The trades of all connections of a run, which share the limit of unknown frames that are stored."""

    def __init__(self, metrics: Metrics, channel: Channel[Run] = TRADES) -> None:
        self._metrics = metrics
        self._channel = channel
        self._limit = ReportLimit()
        self._heard: dict[str, tuple[int, bytes]] = {}

    @property
    def channel(self) -> str:
        """See :class:`recorder.collectors.feed.Feed`."""
        return self._channel.name

    def session(self, pairs: Collection[str]) -> Session:
        """See :class:`recorder.collectors.feed.Feed`."""
        return Session(self._channel, pairs, limit=self._limit)

    def line(self, data: TradeRows | PartialRows, connection: int) -> Inbound:
        """See :class:`recorder.collectors.feed.Feed`. The drain quarantines and reports rows that cannot be read."""
        self._hear(data)
        if isinstance(data, TradeRows):  # nearly always
            source = records.stream_source(self._channel.name, connection)
            return Inbound(segment.encode(data.received_ns, source, data.frame, parsed=True), data.runs)
        self._metrics.unreadable.inc()
        log.error("rows stored but not understood", rows=len(data.odd), reason=data.odd[0].reason)
        source = records.stream_source("odd", connection)
        return Inbound(segment.encode(data.received_ns, source, data.frame), data.runs)

    def heard(self, pair: str) -> int:
        """Return the highest id of ``pair`` received in this run; 0 if there is none."""
        return self._heard[pair][0] if pair in self._heard else 0

    def last_heard(self, pair: str) -> Trade | None:
        """Return the trade with the id of :meth:`heard`; None if there is none."""
        if pair not in self._heard:
            return None
        last_id, frame = self._heard[pair]
        rows = trade_frames.parse_trades(frame, received_ns=0, checked=True)
        return next((row for row in rows if row.pair == pair and row.trade_id == last_id), None)

    def _hear(self, rows: TradeRows | PartialRows) -> None:
        heard, frame = self._heard, rows.frame
        for run in rows.runs:
            pair, last_id = run.pair, run.span.last
            highest, _ = heard.get(pair, _NOTHING)
            if last_id > highest or is_far(highest, last_id):  # a stray far id must not block for ever
                heard[pair] = last_id, frame
