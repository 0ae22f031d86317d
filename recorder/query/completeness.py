"""What is missing in a range of one pair, judged from footers and events without DuckDB: from any thread.

The same judgement as that of a query over ``recorder.connect()``, which queries DuckDB in the thread of the connection.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from recorder.archive import stored_evidence
from recorder.archive.layout import Layout
from recorder.archive.stored_evidence import StoredEvidence
from recorder.core import evidence
from recorder.core.evidence import Promise
from recorder.core.trade_ids import Run, Span
from recorder.errors import StorageError
from recorder.query import id_runs
from recorder.query.arguments import Range


def lacking(data: Path, runs: Sequence[Run], limits: Range, promise: Promise | None) -> str | None:
    """Return a message about trades of the range that are not stored, and how to fetch them; None if all are.

    ``runs`` are those of one pair, at least one, and ``promise`` is the one in its files. Raises StorageError if that
    cannot be known, because a file of events cannot be read.
    """
    pair, first = runs[0].pair, runs[0]
    begins_in = first.span.first > 1 and (limits.start_us is None or limits.start_us <= first.first_us)
    begins_late = first.span.first > 1 and limits.start_us is not None and limits.start_us < first.first_us
    if not begins_in and not begins_late and not id_runs.missing_in(runs, limits):
        return None
    known = _evidence(data)
    promise = evidence.earliest(promise, known.promise(pair))
    absent, now_us = known.absent(pair).settled(), time.time_ns() // 1000
    sentences = []
    if missing := id_runs.missing_in(runs, limits, absent, promise, now_us=now_us):
        sentences.append(id_runs.sentence({pair: missing}, data))
    if begins_late and absent.missing(Span(1, first.span.first - 1)):
        begins_us = first.first_us if promise is None else min(first.first_us, promise.time_us)
        if limits.start_us is not None and limits.start_us < begins_us:
            sentences.append(id_runs.late_sentence({pair: begins_us}, limits.start_us, data))
    return "; ".join(sentences) or None


def _evidence(data: Path) -> StoredEvidence:
    known = stored_evidence.read(Layout(data))
    for one in known.findings:
        raise StorageError(f"it is unknown whether trades are missing: {one.file} {one.problem}: {one.remedy}")
    return known
