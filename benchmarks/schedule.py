"""Run the plan of candle requests through two days, and print how near any came to slipping out of the window.

Virtual time only: the recorder's own schedule and pace, against an exchange that is out for an hour, refuses
everything for twenty minutes, and otherwise answers. Run: python -m benchmarks.schedule [pairs [requests per second]]
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, field

from recorder.core.candle_schedule import WINDOW, CandleSchedule, Series
from recorder.core.throttling import Pace

START_S = 1_800_000_000.0
HOUR_S = 3600.0


@dataclass(slots=True)
class Outcome:
    """What became of the candles that were committed after the start; times in seconds, by timeframe."""

    worst_slack_s: dict[str, float] = field(default_factory=dict)
    latest_s: dict[str, float] = field(default_factory=dict)
    answers: dict[str, int] = field(default_factory=dict)
    order: list[Series] = field(default_factory=list)
    refused: int = 0
    lost: int = 0


def simulate(
    pairs: int = 1000,
    timeframes: tuple[str, ...] = ("1m", "1h", "1d"),
    *,
    per_s: float = 1.0,
    hours: float = 48.0,
    outage_from_h: float = 11.0,
    throttled_from_h: float = 20.0,
    shared_by: int = 1,
) -> Outcome:
    """Run the plan from a cold start; ``shared_by`` tasks take turns with the exchange, of which this is one."""
    schedule, pace, outcome = CandleSchedule(refresh_s=60, per_s=per_s), Pace(per_s), Outcome()
    now_s = START_S
    for number in range(pairs):
        for timeframe in timeframes:
            schedule.add(Series(f"P{number}/USD", timeframe), now_s, held_until_s=None)
    held_until_s = {series: committed_s(series, now_s) for series in schedule.series()}
    while now_s < START_S + hours * HOUR_S:
        series = schedule.next(now_s)
        if series is None:
            now_s += schedule.wait_s(now_s) or 1.0
            continue
        for _ in range(shared_by):
            while (delay_s := pace.claim(now_s)) > 0:
                now_s += delay_s
        at_h = (now_s - START_S) / HOUR_S
        if outage_from_h <= at_h < outage_from_h + 1:
            schedule.failed(series, now_s)
        elif throttled_from_h <= at_h < throttled_from_h + 1 / 3:
            outcome.refused += 1
            pace.throttled(now_s)
            schedule.failed(series, now_s)
        else:
            pace.answered(now_s)
            _answer(outcome, series, now_s, held_until_s)
            schedule.answered(series, now_s, held_until_s=held_until_s[series])
    return outcome


def _answer(outcome: Outcome, series: Series, now_s: float, held_until_s: dict[Series, float]) -> None:
    interval_s, timeframe, held_s = series.interval_s, series.timeframe, held_until_s[series]
    now_committed_s = committed_s(series, now_s)
    outcome.lost += max(0, round((now_committed_s - held_s) / interval_s) - WINDOW)
    slack_s = held_s + WINDOW * interval_s - now_s
    outcome.worst_slack_s[timeframe] = min(outcome.worst_slack_s.get(timeframe, slack_s), slack_s)
    if now_committed_s > held_s:
        late_s = now_s - (held_s + interval_s)
        outcome.latest_s[timeframe] = max(outcome.latest_s.get(timeframe, late_s), late_s)
    outcome.answers[timeframe] = outcome.answers.get(timeframe, 0) + 1
    outcome.order.append(series)
    held_until_s[series] = now_committed_s


def committed_s(series: Series, now_s: float) -> float:
    """Return the end of the newest candle that is committed."""
    return now_s // series.interval_s * series.interval_s


def report(outcome: Outcome) -> str:
    """Return the figures as lines for people."""
    return "\n".join(
        [
            f"lost {outcome.lost}, refused {outcome.refused}",
            *(
                f"{timeframe:>4}: {answers:7} answers, worst slack {outcome.worst_slack_s[timeframe] / HOUR_S:8.2f} h, "
                f"latest candle {outcome.latest_s.get(timeframe, 0.0) / 60:6.1f} min after its end"
                for timeframe, answers in outcome.answers.items()
            ),
        ]
    )


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    per_s = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    for shared_by in (1, 3):
        started_s = time.perf_counter()
        outcome = simulate(pairs, per_s=per_s, shared_by=shared_by)
        taken_s = time.perf_counter() - started_s
        print(f"{pairs} pairs, {per_s:g} requests/s shared by {shared_by}: 48 h in {taken_s:.1f} s")
        print(report(outcome))


if __name__ == "__main__":
    main()
