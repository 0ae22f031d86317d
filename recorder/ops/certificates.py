"""Certificates of an archive: what its files really hold, and what the exchange has said, put together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from recorder.archive import stored_evidence, verify_tables, verify_trades
from recorder.archive.integrity import ALL_DAYS, Days, Finding
from recorder.archive.layout import Layout
from recorder.archive.stored_evidence import DatedClaims, StoredEvidence
from recorder.archive.verify_trades import StepBack
from recorder.core import evidence
from recorder.core.certificate import Certificate, certificates
from recorder.core.evidence import Renumbered
from recorder.core.trade_ids import Run, Spans

_THREADS: Final = 2
"""One core reads and hashes, the other sets text, and helps out."""


ANCHORED_WITHIN_US: Final = 3_600_000_000
"""A pair that has not traded yet is left an hour for its anchor: an exchange out of reach for that long is a fault."""


@dataclass(frozen=True, slots=True)
class PairCertificates:
    """One pair: a certificate of each day, oldest first, and what is wrong with its files.

    ``unanchored``: the promise of the pair has no anchor yet, though there was time to find it. ``renumbered``: since
    when the exchange numbers it anew. ``steps_back``: some ids at which time goes back by more than seconds.
    """

    pair: str
    certificates: Sequence[Certificate]
    findings: Sequence[Finding]
    unanchored: bool = False
    renumbered: Renumbered | None = None
    steps_back: Sequence[StepBack] = ()


def certify(
    layout: Layout,
    pairs: Sequence[str],
    told: StoredEvidence,
    *,
    now_us: int,
    days: Days = ALL_DAYS,
    done: Callable[[int], None] = lambda _: None,
) -> Iterator[PairCertificates]:
    """Read every trade of ``pairs`` and yield what is proven, pair by pair.

    Rows that are only in the journal do not count. ``now_us`` is µs since 1970 UTC. What is ``told`` of ids must have
    been read before: rows move in while it goes on, and a confirmation of before they came stays true. Where a file of
    what is told could not be read, which is among :func:`other_findings`, every day is ``unknown``: nobody knows what
    it said of it.
    """
    remembered = stored_evidence.certified(layout)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
        for pair in pairs:
            content = verify_trades.read(layout, pair, pool, days=days, done=done)
            promise = evidence.earliest(told.promise(pair), content.promise)
            claims = told.disownings(pair)
            renumbered = evidence.renumbered(claims)
            proven = certificates(
                pair,
                content.runs,
                content.days,
                now_us=now_us,
                absent=told.absent(pair),
                confirmed=told.confirmed(pair),
                promise=promise,
                certified=remembered.of(pair, after_us=evidence.begun_us(claims)),
                unknown_from_us=0 if told.findings else None if renumbered is None else renumbered.from_us,
            )
            unanchored = (
                promise is not None
                and promise.after_id is None
                and (bool(content.runs) or now_us - promise.time_us >= ANCHORED_WITHIN_US)
            )
            yield PairCertificates(
                pair,
                [one for one in proven if one.day in days],
                (*content.findings, *_half_disowned(layout, pair, content.runs, told)),
                unanchored,
                renumbered,
                content.steps_back,
            )


def _half_disowned(layout: Layout, pair: str, held: Sequence[Run], told: StoredEvidence) -> Iterator[Finding]:
    """Yield a finding where ids are disowned and yet held: somebody stopped half-way, or is at it."""
    disowned = told.absent(pair).disowned
    if any(disowned.within(run.span) for run in held):
        disowned = DatedClaims(layout).ids(pair)  # they may have been taken back since
        still = Spans(part for run in held for part in disowned.within(run.span))
        for span in still:
            remedy = f"call `recorder disown {pair} {span.first}-{span.last}` again, or with --undo"
            yield Finding(layout.pair_dir(pair), f"holds ids {span} that are disowned", remedy)


def other_findings(
    layout: Layout, *, days: Days | None = ALL_DAYS, done: Callable[[int], None] = lambda _: None
) -> list[Finding]:
    """Read the tables but for trades, every row of every file, and return what is wrong with them.

    With ``days`` only the candles of their years, with None events alone: on them certificates rest.
    """
    return list(verify_tables.findings(layout, days=days, done=done))


def total_bytes(layout: Layout, pairs: Sequence[str], *, days: Days | None = ALL_DAYS) -> int:
    """Return the bytes of the files of ``pairs`` and of the other tables: what ``done`` is told in all, about."""
    return sum(verify_trades.size(layout, pair) for pair in pairs) + verify_tables.size(layout, days)
