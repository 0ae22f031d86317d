"""Certificates of trades that are told by their ids and times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

from recorder.core.absent_ids import AbsentIds
from recorder.core.certificate import Certificate, DayRows, certificates, utc_day
from recorder.core.evidence import Confirmed, Promise
from recorder.core.trade_ids import Run, Span, Spans

PAIR = "BTC/USD"


def certified(
    times: dict[int, int],
    *,
    now_us: int,
    void: Sequence[tuple[int, int]] = (),
    disowned: Sequence[tuple[int, int]] = (),
    unreadable: Sequence[tuple[int, int]] = (),
    confirmed: Sequence[tuple[int, int]] = (),
    promise: Promise | None = None,
    unknown_from_us: int | None = None,
) -> list[Certificate]:
    """Certify a pair of which these trades are held: id → time."""
    runs = [Run(PAIR, span, times[span.first], times[span.last]) for span in Spans.of_ids(times)]
    rows: dict[date, DayRows] = {}
    for trade_id in sorted(times):
        time_us = times[trade_id]
        before = rows.get(utc_day(time_us), DayRows(0, trade_id, trade_id, time_us, time_us))
        rows[utc_day(time_us)] = replace(before, rows=before.rows + 1, last_id=trade_id, last_us=time_us)
    return certificates(
        PAIR,
        runs,
        rows,
        now_us=now_us,
        absent=AbsentIds(*(Spans(Span(*ends) for ends in spans) for spans in (void, disowned, unreadable))),
        confirmed=[Confirmed(PAIR, *known) for known in confirmed],
        promise=promise,
        unknown_from_us=unknown_from_us,
    )
