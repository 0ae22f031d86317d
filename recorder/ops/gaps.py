"""Which ids are missing between those held, or are known not to exist; from footers, journal and events alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recorder.archive import files, known
from recorder.archive.coverage import Coverage
from recorder.core.gaps import Gap, Gaps, held_runs
from recorder.core.ledger import Ledger, Run
from recorder.core.model import Span
from recorder.core.spans import Spans
from recorder.errors import CorruptFile, Malformed
from recorder.journal import tail
from recorder.kraken import parse

State = Literal["open", "void"]


@dataclass(frozen=True, slots=True)
class Missing:
    """Ids that are not held: still to be fetched (``open``), or known not to exist (``void``).

    ``after_us`` and ``before_us`` are the times of the trades held next to them, in µs since 1970 UTC; None where none
    is held on that side, which only happens to void ones.
    """

    pair: str
    ids: Span
    after_us: int | None
    before_us: int | None
    state: State


def read(data: Path, damaged: dict[str, str] | None = None) -> dict[str, list[Missing]]:
    """Return what is missing of every pair of which anything is held, pairs sorted, ids ascending.

    A pair with a file that cannot be what it should is left out, and ``damaged`` gets the pair, with what is wrong and
    what to do. Raises NoSuchArchive, UnknownVersion; CorruptFile for such a file where there is no ``damaged``, and for
    one of events, without which nobody knows what is void.
    """
    layout = files.existing(data)
    # The journal first, then the archive: a row may move between the two, but is never missed.
    journal = tail.entries(layout.journal)
    ledger = Ledger()
    for entry in journal:
        with contextlib.suppress(Malformed):  # the drain reports it
            ledger.observe_trades(parse.journalled_trades(entry.source, entry.payload, entry.recv_ns))
    coverage = Coverage(layout)
    for pair in layout.pairs():
        try:
            files.undisturbed(functools.partial(coverage.observe_into, ledger, pair), f"the files of {pair}")
        except CorruptFile as error:
            if damaged is None:
                raise
            damaged[pair] = str(error)
    pairs = [pair for pair in sorted(ledger) if not damaged or pair not in damaged]
    told = known.read(layout, pairs)
    for finding in told.findings:
        raise CorruptFile(f"{finding.file} {finding.problem}: {finding.remedy}")
    for entry in journal:
        with contextlib.suppress(Malformed):
            event = parse.journalled_event(entry.source, entry.payload, entry.recv_ns)
            if event is not None:
                told.take(event)
    return {pair: missing(held_runs(pair, ledger.of(pair)), told.void.get(pair, Spans())) for pair in pairs}


def missing(held: Sequence[Run], void: Iterable[Span]) -> list[Missing]:
    """Return what is missing between the runs held of a pair, and what is void anywhere, ascending."""
    gaps = Gaps(held, void)
    found = [_missing(gap, "open") for gap in gaps.unknown() if gap.below and gap.above]
    found += [_missing(gap, "void") for gap in gaps.void() if gap.below or gap.above]
    return sorted(found, key=lambda one: one.ids)


def _missing(gap: Gap, state: State) -> Missing:
    beside = gap.below or gap.above
    assert beside is not None
    return Missing(
        beside.pair,
        gap.ids,
        None if gap.below is None else gap.below.last_us,
        None if gap.above is None else gap.above.first_us,
        state,
    )
