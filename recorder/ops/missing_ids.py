"""Ids that are missing between stored ones, void or disowned; found in footers, journal and events alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recorder.archive import load_ledger
from recorder.archive.layout import existing
from recorder.core.absent_ids import AbsentIds
from recorder.core.evidence import Promise
from recorder.core.gaps import Gaps, wanted
from recorder.core.ledger import Ledger
from recorder.core.trade_ids import NO_IDS, Gap, Run, Span, Spans
from recorder.errors import CorruptFile
from recorder.journal import live_read
from recorder.kraken import records


def read(data: Path, damaged: dict[str, str] | None = None) -> dict[str, list[Gap]]:
    """Return the gaps of every pair with stored or promised trades, pairs sorted, ids ascending.

    A pair with an invalid file is left out, and added to ``damaged`` with the problem and the remedy. Raises
    NoSuchArchive, UnknownVersion; CorruptFile for such a file if ``damaged`` is None, and for an invalid file of
    events, without which void and disowned ids are unknown.
    """
    layout = existing(data)
    ledger = Ledger()
    loaded = load_ledger.load(ledger, layout, records.claims(live_read.entries(layout.journal)))
    if damaged is None:
        loaded.check()
    else:
        damaged |= {pair: str(error) for pair, error in loaded.damaged.items()}
    for finding in loaded.findings:
        raise CorruptFile(f"{finding.file} {finding.problem}: {finding.remedy}")
    accounts = {pair: ledger.of(pair) for pair in sorted(ledger) if pair not in loaded.damaged}
    return {
        pair: missing(
            pair,
            account.runs(),
            account.absent(),
            account.promise,
            account.memory.every(),
            imported=account.imported,
            joined_after=account.joined_after,
        )
        for pair, account in accounts.items()
        if account.spans or account.promise or account.memory.ids
    }


def missing(
    pair: str,
    held: Sequence[Run],
    absent: AbsentIds,
    promise: Promise | None = None,
    certified: Spans = NO_IDS,
    *,
    imported: Spans = NO_IDS,
    joined_after: int | None = None,
) -> list[Gap]:
    """Return the missing and absent ids of a pair, ascending; empty for a pair neither stored nor promised.

    Ids that were ``certified`` are missing wherever they are; :func:`wanted` says which beside ``imported`` ones are.
    """
    if not held and promise is None and not certified:
        return []
    gaps = Gaps(pair, held, absent, promise=promise, certified=certified)
    stored = Spans(run.span for run in held)
    between = wanted(gaps.between(), stored, imported, promise, certified, joined_after=joined_after)
    return sorted([*between, *gaps.absent()], key=_ids)


def _ids(gap: Gap) -> Span:
    return gap.span
