"""The overview of a running recorder, from its own state: it needs neither the disk nor the reader."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from recorder.clock import Clock
from recorder.core.ledger import Ledger
from recorder.core.model import plain
from recorder.core.throttling import Pace
from recorder.core.trade_ids import Span
from recorder.daemon.heartbeat import SHOWN, Heartbeat
from recorder.ingest.durable_trades import DurableTrades
from recorder.page import overview, templates
from recorder.page.overview import DiskRoom, EventRow, Facts, History, OpenGap, PairRow, SetAside, Throttle
from recorder.runtime.notes import Notes


class DaemonOverview:
    """See :class:`recorder.page.overview.Source`."""

    def __init__(
        self,
        heartbeat: Heartbeat,
        ledger: Ledger,
        durable: DurableTrades,
        notes: Notes,
        *,
        pace: Pace,
        clock: Clock,
    ) -> None:
        self._heartbeat = heartbeat
        self._ledger = ledger
        self._durable = durable
        self._notes = notes
        self._pace = pace
        self._clock = clock

    async def refresh(self) -> None:
        """See :class:`recorder.page.overview.Source`."""

    def pairs(self) -> Sequence[str]:
        """See :class:`recorder.page.overview.Source`."""
        parts = self._heartbeat.parts
        return sorted(parts.pairs) if parts else []

    def row(self, pair: str, history: History) -> PairRow:
        """See :class:`recorder.page.overview.Source`."""
        account, trade = self._ledger.of(pair), self._durable.newest(pair)
        gaps = account.gaps()
        price, last_us = (None, account.last_us) if trade is None else (plain(trade.price), trade.time_us)
        if trade is None and pair in history.prices:
            price = history.prices[pair][1]
        return PairRow(
            pair,
            self._note(pair),
            price,
            last_us,
            self._durable.per_minute(pair),
            len(gaps),
            sum(len(gap.span) for gap in gaps),
            self._today(pair, history),
            history.sparks.get(pair, ()),
        )

    def facts(self) -> Facts:
        """See :class:`recorder.page.overview.Source`."""
        parts, state, about = self._heartbeat.parts, self._heartbeat.state(), self._heartbeat.about()
        gaps = [gap for pair in self.pairs() for gap in self._ledger.of(pair).fetchable_gaps()]
        lengths = [len(gap.span) for gap in gaps]
        recent = sorted(gaps, key=lambda gap: gap.before_us or 0, reverse=True)[: overview.GAPS]
        faults = parts.quarantined.faults() if parts else []
        room = parts.space.room if parts else None
        word, reasons = overview.word(state, fetching=bool(gaps))
        return Facts(
            "starting" if parts is None and not state.stopping and not state.asks_in_s else word,
            reasons,
            str(about["archive"]),
            str(about["since"]),
            [OpenGap(gap.pair, gap.span.first, gap.span.last, gap.after_us, gap.before_us) for gap in recent],
            len(gaps),
            sum(lengths),
            overview.eta_s(lengths, self._pace.per_s),
            [SetAside(one.pair, one.file, one.problem, one.remedy) for one in faults[:SHOWN]],
            len(faults),
            None
            if room is None or parts is None
            else DiskRoom(room.free, room.total, parts.space.low_bytes, parts.space.runway_s),
            Throttle(self._pace.per_s, state.asks_in_s, state.connects_in_s),
            self._heartbeat.quotes,
            [
                EventRow(one.time_us, one.kind, one.pair, templates.detail(one.detail))
                for one in reversed(self._notes.recent)
            ],
        )

    def _note(self, pair: str) -> str:
        parts = self._heartbeat.parts
        if parts is not None and parts.quarantined.is_paused(pair):
            return "quarantined"
        if self._ledger.of(pair).renumbered is not None:
            return "renumbered"
        return ""

    def _today(self, pair: str, history: History) -> int | None:
        """Return how many trades of this UTC day are stored; None if it is unknown where the day begins."""
        today = datetime.fromtimestamp(self._clock.wall_ns() // 1_000_000_000, UTC).date().isoformat()
        if history.day != today:
            return None
        spans = self._ledger.of(pair).spans
        from_id, last_id = history.from_ids.get(pair, 1), spans.last
        if last_id is None or last_id < from_id:
            return 0
        return sum(len(part) for part in spans.within(Span(from_id, last_id)))
