"""Disowning ids of a pair on the order of the archive's owner, and reclaiming them.

Rows are first copied to the quarantine, then the disowning is recorded, then the files are rewritten as in a
compaction. Whenever the power fails, each row is in a file or in the quarantine, and repeating the operation completes
it. Reclaiming runs in the opposite order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from recorder.archive import locks, parquet, quarantine, read_trades
from recorder.archive.compaction import check_ids, file_rows, first_id, replacing
from recorder.archive.datasets import EVENTS, TRADES, Branch
from recorder.archive.event_rows import event
from recorder.archive.footer import Footer, held_runs
from recorder.archive.parquet import SET_APART, FileFacts
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.archive.segment_tables import Segments
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.evidence import Disowned, Knowledge, Reclaimed
from recorder.core.model import Trade
from recorder.core.trade_ids import Run, Span, Spans, joined
from recorder.errors import CorruptFile

KEPT_ROWS: Final = 10_000
"""Rows that are quarantined together, some 3 MB as text."""


@dataclass(frozen=True, slots=True)
class DisownResult:
    """Result for the ids: ``claimed`` are those whose state changed, ``rows`` is the number of rows moved."""

    claimed: Spans
    rows: int


def disown(archive: TradeArchive, pair: str, ids: Spans, *, now_us: int, reason: str) -> DisownResult:
    """Disown ``ids`` of ``pair`` and quarantine their rows; ``now_us`` is µs since 1970 UTC.

    Raises CorruptFile, before anything is recorded, if a file with such rows is not sound; StorageError, DiskError.
    """
    branch, layout = Branch(TRADES, pair), archive.layout
    with locks.writing(layout, archive.disk, branch):
        files = archive.coverage.files(pair)
        touched, promise = [file for file in files if _within(file, ids)], archive.promise_of(pair, files)
        rows = _set_aside(archive, touched, ids, f"id disowned: {reason}")
        claims = archive.claimed.claims(pair)
        known = evidence.disowned(claims)
        claimed = Spans(part for span in ids for part in known.missing(span))
        time_us = evidence.after_us(claims, now_us)
        note(archive, [Disowned(pair, span, time_us, reason) for span in claimed], now_us=now_us)
        for leaf in sorted({file.path.parent for file in touched}):
            inside = [file for file in touched if file.path.parent == leaf]
            with replacing(layout, archive.disk, branch, leaf, inside) as built:
                for file in inside:
                    left = Spans(part for run in file.footer.runs for part in ids.missing(run.span))
                    if left:
                        runs = tuple(_runs(_rows(file, left), pair))
                        imported = tuple(
                            one._replace(span=part) for one in file.footer.imported for part in left.within(one.span)
                        )
                        footer = Footer(TRADES.name, pair, runs, promise=promise, archive=archive.id, imported=imported)
                        named = runs[0].span.first, runs[-1].span.last
                        written = parquet.write_stream(
                            _rows(file, left), TRADES.columns, footer, built, archive.disk, named=named
                        )
                        check_ids(written, left)
    return DisownResult(claimed, rows)


def reclaim(archive: TradeArchive, pair: str, ids: Spans, *, now_us: int) -> DisownResult:
    """Reclaim disowned ``ids`` of ``pair``: their quarantined rows are archived again.

    Raises StorageError, DiskError.
    """
    with locks.writing(archive.layout, archive.disk, Branch(TRADES, pair)):
        claims = archive.claimed.claims(pair)
        known = evidence.disowned(claims)
        kept = [one for one in quarantine.listed(archive.layout) if _is_of(one, pair, ids)]
        # Rows first: if this were interrupted, missing ids would be fetched again, and their rows would differ.
        added = quarantine.replay(kept, _Reclaiming(archive), _row)
        claimed = Spans(part for span in ids for part in known.within(span))
        time_us = evidence.after_us(claims, now_us)
        note(archive, [Reclaimed(pair, span, time_us) for span in claimed], now_us=now_us)
    return DisownResult(claimed, Spans(added.get(pair, ())).count())


def note(archive: TradeArchive, claims: Sequence[Knowledge], *, now_us: int) -> None:
    """Write claims about ids to the events table, durably: for callers without a journal."""
    if claims:
        events = [event(now_us, evidence.kind(one), one.pair, **evidence.detail(one)) for one in claims]
        segments = Segments(archive.layout, archive.disk, staging=archive.staging)
        segments.add(Branch(EVENTS), EVENTS.build(events), segment=None)


class _Reclaiming:
    """Appends rows even if their ids are disowned. The caller holds the pair's lock."""

    def __init__(self, archive: TradeArchive) -> None:
        self._archive = archive

    def append(self, pair: str, trades: Sequence[Trade]) -> Spans:
        return self._archive.append_locked(pair, trades, but=Spans())


def _is_of(kept: QuarantinedRow, pair: str, ids: Spans) -> bool:
    return kept.reason == Reason.DISOWNED and kept.pair == pair and any(ids.within(span) for span in kept.spans)


def _row(kept: QuarantinedRow) -> Iterator[Trade]:
    with contextlib.suppress(ValueError):  # the line was edited; it stays for people to inspect
        yield quarantine.row_of(kept)


def _set_aside(archive: TradeArchive, touched: Iterable[FileFacts], ids: Spans, why: str) -> int:
    """Quarantine the rows of these ids, durably; return how many there are."""
    shelf, count = Quarantine(archive.layout, archive.disk, staging=archive.staging), 0
    waiting: list[QuarantinedRow] = []
    for file in touched:
        try:
            for rows in _rows(file, ids):
                waiting += (quarantine.of_row(row, why) for row in read_trades.of_rows(rows, str(file.footer.pair)))
                count += rows.num_rows
                if len(waiting) >= KEPT_ROWS:
                    shelf.add(waiting)
                    waiting = []
        except SET_APART as error:
            raise CorruptFile(f"cannot read the rows of {file.path}: {error}; nothing was changed") from error
    if waiting:
        shelf.add(waiting)
    return count


def _within(file: FileFacts, ids: Spans) -> bool:
    return any(ids.within(run.span) for run in file.footer.runs)


def _rows(file: FileFacts, ids: Spans) -> Iterator[pa.Table]:
    """Yield the rows of a file with these ids."""
    for rows in file_rows(TRADES, [file], first=first_id):
        found = rows.filter(_are_in(rows, ids))
        if found.num_rows:
            yield found


def _are_in(rows: pa.Table, ids: Spans) -> pa.Array:
    numbers = rows["trade_id"].to_numpy()
    spans = ids.within(Span(int(numbers[0]), int(numbers[-1])))
    mask = np.zeros(rows.num_rows, np.bool_)
    for span in spans:
        mask[np.searchsorted(numbers, span.first) : np.searchsorted(numbers, span.last, side="right")] = True
    return pa.array(mask)


def _runs(tables: Iterable[pa.Table], pair: str) -> list[Run]:
    return joined(run for rows in tables for run in held_runs(rows, pair))
