"""Which ids are missing between those held, or are known not to exist; from footers, journal and events alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from recorder.archive import files, state
from recorder.core.gaps import Gap, Gaps, held_runs
from recorder.core.ledger import Ledger, Run
from recorder.core.model import Span
from recorder.errors import CorruptFile
from recorder.journal import tail
from recorder.kraken import records

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
    ledger = Ledger()
    loaded = state.load(ledger, layout, records.claims(tail.entries(layout.journal)))
    if damaged is None:
        loaded.check()
    else:
        damaged |= {pair: str(error) for pair, error in loaded.damaged.items()}
    for finding in loaded.findings:
        raise CorruptFile(f"{finding.file} {finding.problem}: {finding.remedy}")
    readable = (pair for pair in sorted(ledger) if ledger.of(pair).spans and pair not in loaded.damaged)
    return {pair: missing(held_runs(pair, ledger.of(pair)), ledger.of(pair).void) for pair in readable}


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
