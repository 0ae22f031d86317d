"""Renumbering of a pair by the exchange: its trades are quarantined until it is settled.

It is settled when REST shows the stored trades under their ids again, or when the owner has moved the pair's folder out
of the archive: then the quarantined trades are archived in its place, and evidence about the old ids no longer counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from recorder.archive import disown, quarantine
from recorder.archive.layout import Layout
from recorder.archive.quarantine import QuarantinedRow, Reason
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.evidence import NumberingSettled, Renumbered
from recorder.core.model import Trade
from recorder.core.plausibility import is_same
from recorder.core.trade_ids import Spans

Rows = Callable[[QuarantinedRow], Iterable[Trade]]
"""Parses the trades of a quarantined line."""


def remedy(layout: Layout, pair: str) -> str:
    """Return a description of what settles it, for people."""
    return (
        "it ends by itself once REST shows the stored trades under these ids again; where the exchange does count "
        f"{pair} anew, move {layout.pair_dir(pair)} out of the archive, and a running recorder archives what was set "
        "aside in its place"
    )


def settle(archive: TradeArchive, pair: str, *, now_us: int, anew: bool) -> None:
    """Record, durably, that the ids of ``pair`` are comparable again."""
    time_us = evidence.after_us(archive.claimed.claims(pair), now_us)
    disown.note(archive, [NumberingSettled(pair, time_us, anew)], now_us=now_us)


def begin_anew(archive: TradeArchive, pair: str, found: Renumbered, rows: Rows, *, now_us: int) -> Spans | None:
    """Archive the quarantined trades of ``pair`` if no others are stored; return None if some are.

    If it is interrupted, calling it again continues: the rows stored by then are quarantined ones.
    """
    kept = [one for one in quarantine.listed(archive.layout) if _is_of(one, found)]
    aside = [row for one in kept for row in rows(one) if _is_in(row, one)]
    if not _is_replaced(archive, pair, aside):
        return None
    added = quarantine.replay(kept, archive, lambda one: (row for row in rows(one) if _is_in(row, one)))
    settle(archive, pair, now_us=now_us, anew=True)
    return Spans(added.get(pair, ()))


def _is_replaced(archive: TradeArchive, pair: str, aside: Sequence[Trade]) -> bool:
    held = archive.coverage.spans(pair)
    if not held:
        return True
    ids = Spans.of_ids(row.trade_id for row in aside)
    if not all(ids.covers(span) for span in held):
        return False
    return all(is_same(row, before) for row, before in archive.repeated(pair, aside))


def _is_of(kept: QuarantinedRow, found: Renumbered) -> bool:
    """Return whether a line came after the renumbering; earlier ones, from an interrupted drain, are in the archive."""
    late = kept.recv_ns // 1000 >= found.from_us
    return kept.reason == Reason.RENUMBERED and kept.pair == found.pair and late


def _is_in(row: Trade, kept: QuarantinedRow) -> bool:
    return row.pair == kept.pair and any(row.trade_id in span for span in kept.spans)
