"""The provenance of a result in a few comparable values: the ids used, the number missing, a digest.

A trade is identified by its pair and id, and never changes, so the same ids mean the same rows, and a digest of the ids
is enough to show that two results are based on the same data. It costs nothing. The digest of the rows themselves,
which also shows that both archives have the same digits, is made on request. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recorder.core.trade_ids import Run, Span, Spans

SHOWN: Final = 1_000
"""The maximum number of runs of one pair in ``df.attrs``: pandas copies them at every step. The digest covers all."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The trades used for a result: for each pair the runs of ids, from the lowest id used to the highest.

    ``missing`` counts the ids known to be missing in the requested range. ``begins`` has, for each pair that begins
    later than the range, the time (ISO 8601) from which it is stored or promised: earlier trades are not missing.
    ``hashes`` are the SHA-256 of the canonical rows (docs/format.md) of each pair, if they were requested.
    """

    coverage: Mapping[str, Sequence[Span]]
    missing: Mapping[str, int]
    begins: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] | None = None

    def attrs(self) -> dict[str, Any]:
        """Return plain values for JSON: coverage, missing, begins, digest, and sha256 if there is any."""
        content: dict[str, Any] = {
            "coverage": {pair: [[run.first, run.last] for run in runs[:SHOWN]] for pair, runs in self.coverage.items()},
            "missing": dict(self.missing),
            "begins": dict(self.begins),
            "digest": digest(self.coverage),
        }
        if self.hashes is not None:
            content["sha256"] = dict(self.hashes)
        return content


def digest(coverage: Mapping[str, Sequence[Span]]) -> str:
    r"""Return the SHA-256 of the ids: one line for each run, by pair name and then by id.

    >>> digest({"BTC/USD": [Span(1, 3), Span(7, 9)]}) == hashlib.sha256(b"BTC/USD,1,3\nBTC/USD,7,9\n").hexdigest()
    True
    """
    lines = (f"{pair},{run.first},{run.last}\n" for pair in sorted(coverage) for run in coverage[pair])
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def between(runs: Iterable[Run], first_id: int, last_id: int) -> list[Span]:
    """Return the runs of stored ids from ``first_id`` to ``last_id``.

    >>> between([Run("A/B", Span(1, 5), 0, 0), Run("A/B", Span(8, 9), 0, 0)], 3, 8)
    [Span(first=3, last=5), Span(first=8, last=8)]
    """
    return Spans(run.span for run in runs).within(Span(first_id, last_id)) if first_id <= last_id else []


def windows(runs: Sequence[Span], rows: int) -> Iterator[Span]:
    """Cut runs into windows with ``rows`` ids each, the last one fewer; windows may span gaps.

    >>> list(windows([Span(1, 5), Span(8, 9)], 3))
    [Span(first=1, last=3), Span(first=4, last=8), Span(first=9, last=9)]
    """
    first, room = None, rows
    for run in runs:
        at = run.first
        while run.last - at + 1 >= room:
            yield Span(at if first is None else first, at + room - 1)
            at, first, room = at + room, None, rows
        if at <= run.last:
            first = at if first is None else first
            room -= run.last - at + 1
            last = run.last
    if first is not None:
        yield Span(first, last)
