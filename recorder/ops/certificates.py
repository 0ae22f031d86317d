"""Certificates of an archive: the actual content of its files combined with the evidence from the exchange."""

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
"""One core reads and hashes, the other formats text and helps out."""


ANCHORED_WITHIN_US: Final = 3_600_000_000
"""Time for a pair without trades to get its anchor, one hour: an exchange out of reach for longer is a fault."""


@dataclass(frozen=True, slots=True)
class PairCertificates:
    """One pair: a certificate of each day, oldest first, and the problems of its files.

    ``unanchored``: the promise of the pair has no anchor yet, although there was time to find it. ``renumbered``: since
    when the exchange renumbers it. ``steps_back``: some ids at which time goes back by more than seconds.
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
    known: StoredEvidence,
    *,
    now_us: int,
    days: Days = ALL_DAYS,
    done: Callable[[int], None] = lambda _: None,
) -> Iterator[PairCertificates]:
    """Read every trade of ``pairs`` and yield what is proven, pair by pair.

    Rows only in the journal do not count. ``now_us`` is µs since 1970 UTC. The evidence ``known`` must have been read
    before: rows are added meanwhile, and a confirmation from before stays true. If a file of evidence could not be
    read, which :func:`other_findings` reports, every day is ``unknown``, because its evidence may be missing.
    """
    remembered = stored_evidence.certified(layout)
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="verify") as pool:
        for pair in pairs:
            content = verify_trades.read(layout, pair, pool, days=days, done=done)
            promise = evidence.earliest(known.promise(pair), content.promise)
            claims = known.disownings(pair)
            renumbered = evidence.renumbered(claims)
            proven = certificates(
                pair,
                content.runs,
                content.days,
                now_us=now_us,
                absent=known.absent(pair),
                confirmed=known.confirmed(pair),
                promise=promise,
                certified=remembered.of(pair, after_us=evidence.begun_us(claims)),
                unknown_from_us=0 if known.findings else None if renumbered is None else renumbered.from_us,
            )
            unanchored = (
                promise is not None
                and promise.after_id is None
                and (bool(content.runs) or now_us - promise.time_us >= ANCHORED_WITHIN_US)
            )
            yield PairCertificates(
                pair,
                [one for one in proven if one.day in days],
                (*content.findings, *_half_disowned(layout, pair, content.runs, known)),
                unanchored,
                renumbered,
                content.steps_back,
            )


def _half_disowned(layout: Layout, pair: str, held: Sequence[Run], known: StoredEvidence) -> Iterator[Finding]:
    """Yield a finding for ids both disowned and stored: the command was interrupted, or is still running."""
    disowned = known.absent(pair).disowned
    if any(disowned.within(run.span) for run in held):
        disowned = DatedClaims(layout).ids(pair)  # they may have been taken back since
        still = Spans(part for run in held for part in disowned.within(run.span))
        for span in still:
            remedy = f"call `recorder disown {pair} {span.first}-{span.last}` again, or with --undo"
            yield Finding(layout.pair_dir(pair), f"holds ids {span} that are disowned", remedy)


def other_findings(
    layout: Layout, *, days: Days | None = ALL_DAYS, done: Callable[[int], None] = lambda _: None
) -> list[Finding]:
    """Read all tables except trades, every row of every file, and return their problems.

    With ``days`` only the candles of their years, with None only events, on which certificates rest.
    """
    return list(verify_tables.findings(layout, days=days, done=done))


def total_bytes(layout: Layout, pairs: Sequence[str], *, days: Days | None = ALL_DAYS) -> int:
    """Return the size in bytes of the files of ``pairs`` and other tables: the approximate total for ``done``."""
    return sum(verify_trades.size(layout, pair) for pair in pairs) + verify_tables.size(layout, days)
