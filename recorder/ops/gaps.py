"""Which ids are missing between those held, or are known not to exist; from footers, journal and events alone."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Sequence
from pathlib import Path

from recorder.archive import known
from recorder.archive.coverage import Coverage
from recorder.archive.layout import existing
from recorder.core.gaps import Gaps
from recorder.core.ids import Gap, Run, Span, Spans
from recorder.core.ledger import Ledger
from recorder.disk import undisturbed
from recorder.errors import CorruptFile, Malformed
from recorder.journal import tail
from recorder.kraken import parse


def read(data: Path, damaged: dict[str, str] | None = None) -> dict[str, list[Gap]]:
    """Return what is missing of every pair of which anything is held, pairs sorted, ids ascending.

    A pair with a file that cannot be what it should is left out, and ``damaged`` gets the pair, with what is wrong and
    what to do. Raises NoSuchArchive, UnknownVersion; CorruptFile for such a file where there is no ``damaged``, and for
    one of events, without which nobody knows what is void.
    """
    layout = existing(data)
    # The journal first, then the archive: a row may move between the two, but is never missed.
    journal = tail.entries(layout.journal)
    ledger = Ledger()
    for entry in journal:
        with contextlib.suppress(Malformed):  # the drain reports it
            ledger.observe_trades(parse.journalled_trades(entry.source, entry.payload, entry.recv_ns))
    coverage = Coverage(layout)
    for pair in layout.pairs():
        try:
            undisturbed(functools.partial(coverage.observe_into, ledger, pair), f"the files of {pair}")
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
    return {pair: missing(ledger.of(pair).runs(), told.void.get(pair, Spans())) for pair in pairs}


def missing(held: Sequence[Run], void: Iterable[Span]) -> list[Gap]:
    """Return what is missing between the runs held of a pair, and what is void anywhere, ascending."""
    if not held:
        return []
    gaps = Gaps(held, void)
    return sorted([*gaps.between(), *gaps.void()], key=_ids)


def _ids(gap: Gap) -> Span:
    return gap.span
