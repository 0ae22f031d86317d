"""How an archive stands, read from disk alone: right whether a daemon runs or not."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from recorder.archive.coverage import Coverage
from recorder.archive.files import Layout
from recorder.core.ledger import Ledger
from recorder.core.model import Span
from recorder.errors import Malformed, NoSuchArchive, StorageError
from recorder.journal import tail
from recorder.kraken import parse

_ATTEMPTS = 20
"""A compaction replaces a pair's directory now and then; meeting so many in a row is no coincidence."""


@dataclass(frozen=True, slots=True)
class PairStatus:
    """One pair: times in µs since 1970 UTC, holes as spans of missing ids."""

    pair: str
    rows: int
    first_id: int
    last_id: int
    first_us: int
    last_us: int
    journalled: int
    holes: tuple[Span, ...]


def read(data: Path) -> list[PairStatus]:
    """Return the state of every pair in the archive and its journal, sorted by pair. Raises NoSuchArchive."""
    layout = Layout(data)
    if not layout.trades.is_dir():
        raise NoSuchArchive(f"there is no archive at {data}: record one with `recorder run --data {data}`")
    ledger = Ledger()
    # The journal first, then the archive: a row may move between the two, but is never missed.
    for entry in tail.entries(layout.journal):
        with contextlib.suppress(Malformed):  # the drain reports it
            ledger.observe_trades(parse.journalled_trades(entry.source, entry.payload, entry.recv_ns))
    coverage = Coverage(layout)
    archived = {pair: _archived(coverage, pair, ledger) for pair in layout.pairs()}
    return [_status(pair, ledger, archived.get(pair, 0)) for pair in sorted(ledger)]


def _archived(coverage: Coverage, pair: str, ledger: Ledger) -> int:
    """Count what the archive holds of ``pair`` in ``ledger``; return its rows."""
    for _ in range(_ATTEMPTS):
        try:
            return coverage.observe_into(ledger, pair)
        except FileNotFoundError:  # compacted meanwhile
            continue
    raise StorageError(f"the files of {pair} keep changing faster than they can be read")


def _status(pair: str, ledger: Ledger, archived: int) -> PairStatus:
    account = ledger.of(pair)
    first_id, last_id = account.spans.first, account.spans.last
    assert first_id is not None
    assert last_id is not None
    rows = account.spans.count()
    return PairStatus(
        pair=pair,
        rows=rows,
        first_id=first_id,
        last_id=last_id,
        first_us=account.time_us(first_id),
        last_us=account.time_us(last_id),
        journalled=rows - archived,
        holes=tuple(account.spans.holes()),
    )
