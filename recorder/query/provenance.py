"""What a result rests on, told in a few words that can be compared: which ids, how many are missing, a digest.

A trade is its pair and id, and never changes; so whoever has the same ids has the same rows, and a digest of the ids
is enough to show that two results rest on the same data. It costs nothing. The digest of the rows themselves, which
also shows that both archives hold the same digits, is made on request. Pure.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from recorder.core.trade_ids import Run, Span, Spans

SHOWN: Final = 1_000
"""Runs of one pair that ``df.attrs`` carry: pandas copies them at every step. The digest is over all."""


@dataclass(frozen=True, slots=True)
class Provenance:
    """The trades that a result was made of: of each pair the runs of ids, from the lowest id used to the highest.

    ``missing`` counts the ids known to be missing in the range asked for. ``begins`` has, of each pair that begins
    later than the range, the moment (ISO 8601) from which on it is held or promised: what was before is not missing.
    ``hashes`` are the SHA-256 of the canonical rows (docs/format.md) of each pair, where they were asked for.
    """

    coverage: Mapping[str, Sequence[Span]]
    missing: Mapping[str, int]
    begins: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] | None = None

    def attrs(self) -> dict[str, Any]:
        """Return plain values, which JSON can hold: coverage, missing, begins, digest, and sha256 if there is any."""
        told: dict[str, Any] = {
            "coverage": {pair: [[run.first, run.last] for run in runs[:SHOWN]] for pair, runs in self.coverage.items()},
            "missing": dict(self.missing),
            "begins": dict(self.begins),
            "digest": digest(self.coverage),
        }
        if self.hashes is not None:
            told["sha256"] = dict(self.hashes)
        return told


def digest(coverage: Mapping[str, Sequence[Span]]) -> str:
    r"""Return the SHA-256 of the ids: of each pair in the order of its name, and each run in that of ids, a line.

    >>> digest({"BTC/USD": [Span(1, 3), Span(7, 9)]}) == hashlib.sha256(b"BTC/USD,1,3\nBTC/USD,7,9\n").hexdigest()
    True
    """
    lines = (f"{pair},{run.first},{run.last}\n" for pair in sorted(coverage) for run in coverage[pair])
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def between(runs: Iterable[Run], first_id: int, last_id: int) -> list[Span]:
    """Return the runs of ids held from ``first_id`` to ``last_id``.

    >>> between([Run("A/B", Span(1, 5), 0, 0), Run("A/B", Span(8, 9), 0, 0)], 3, 8)
    [Span(first=3, last=5), Span(first=8, last=8)]
    """
    return Spans(run.span for run in runs).within(Span(first_id, last_id)) if first_id <= last_id else []


def windows(runs: Sequence[Span], rows: int) -> Iterator[Span]:
    """Cut runs into stretches of ids that hold ``rows`` each, the last one fewer; they may reach across holes.

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
