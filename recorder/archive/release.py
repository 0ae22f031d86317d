"""Releasing missing ids of a pair, for example vanished ones, when the archive's owner knows the reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from recorder.archive import disown, load_ledger, locks
from recorder.archive.datasets import TRADES, Branch
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.evidence import Disowned, Knowledge
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import Run, Span, Spans

RELEASED: Final = "released"
"""The reason that the event gives."""


def release(archive: TradeArchive, pair: str, ids: Span, claims: Iterable[Run | Knowledge], *, now_us: int) -> Spans:
    """Disown those of ``ids`` that are missing; return them, durably recorded. ``now_us`` is µs since 1970 UTC.

    ``claims`` are those of the journal. Raises CorruptFile if a file of the pair is not sound, so that its content is
    unknown; StorageError, DiskError.
    """
    with locks.writing(archive.layout, archive.disk, Branch(TRADES, pair)):
        ledger = Ledger()
        load_ledger.load(ledger, archive.layout, claims, coverage=archive.coverage, pairs=[pair]).check()
        missing = Spans(ledger.of(pair).gaps_within(ids))
        time_us = evidence.after_us(ledger.of(pair).disownings, now_us)
        disown.note(archive, [Disowned(pair, span, time_us, RELEASED) for span in missing], now_us=now_us)
    return missing
