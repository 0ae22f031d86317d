"""What an archive holds, in a line for ``repr()`` and in a table for notebooks. Pure."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from recorder.core.safe_text import printable
from recorder.core.trade_ids import Gap, Run
from recorder.query import id_runs

_SHOWN: Final = 20
"""The maximum number of pairs in a table, those with gaps first."""
_NAMED: Final = 3
"""The maximum number of pairs in a line."""


@dataclass(frozen=True, slots=True)
class _Pair:
    """The stored trades of one pair: their number and times (µs since 1970 UTC), and how many are missing between."""

    pair: str
    trades: int
    first_us: int
    last_us: int
    gaps: int
    missing: int


@dataclass(frozen=True, slots=True)
class Summary:
    """The pairs of an archive, sorted, and those whose files cannot be read."""

    pairs: Sequence[_Pair]
    unreadable: Sequence[str]

    @classmethod
    def of(
        cls, runs: Mapping[str, Sequence[Run]], missing: Mapping[str, Sequence[Gap]], unreadable: Mapping[str, object]
    ) -> Self:
        """Return the summary of these runs of stored ids, and of the gaps between them."""
        pairs = [
            _Pair(
                pair,
                sum(len(run.span) for run in of_pair),
                min(run.first_us for run in of_pair),
                max(run.last_us for run in of_pair),
                len(missing.get(pair, ())),
                id_runs.count(missing.get(pair, ())),
            )
            for pair, of_pair in sorted(runs.items())
            if of_pair
        ]
        return cls(pairs, sorted(unreadable))

    def line(self) -> str:
        """Return the summary in one line."""
        if not self.pairs and not self.unreadable:
            return "no trades yet"
        names = ", ".join(one.pair for one in self.pairs[:_NAMED])
        more = f" and {len(self.pairs) - _NAMED} more" if len(self.pairs) > _NAMED else ""
        parts = [f"{names}{more}"] if names else []
        if self.pairs:
            parts.append(f"{_second(min(one.first_us for one in self.pairs))} to {self._until()}")
            parts.append(f"{sum(one.trades for one in self.pairs):,} trades")
        parts.append(self._gaps())
        if self.unreadable:
            parts.append(f"cannot read {', '.join(self.unreadable[:_NAMED])}")
        return "; ".join(parts)

    def table(self, title: str) -> str:
        """Return the summary as HTML under a title."""
        shown = sorted(self.pairs, key=lambda one: -one.missing)[:_SHOWN]
        heads = "".join(f"<th>{name}</th>" for name in ("pair", "trades", "from", "to", "gaps", "missing"))
        rows = "".join(f"<tr>{''.join(map(_cell, _cells(one)))}</tr>" for one in sorted(shown, key=_name))
        more = f"<p>and {len(self.pairs) - _SHOWN} more pairs</p>" if len(self.pairs) > _SHOWN else ""
        return (
            f"<div><b>{_escaped(title)}</b><p>{_escaped(self.line())}</p>"
            f"<table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>{more}</div>"
        )

    def _until(self) -> str:
        return _second(max(one.last_us for one in self.pairs))

    def _gaps(self) -> str:
        gaps = sum(one.gaps for one in self.pairs)
        missing = sum(one.missing for one in self.pairs)
        return f"{gaps:,} gap{'s' if gaps > 1 else ''} of {missing:,} ids" if gaps else "no gaps"


def _name(one: _Pair) -> str:
    return one.pair


def _cells(one: _Pair) -> list[str]:
    first, last = _second(one.first_us), _second(one.last_us)
    return [one.pair, f"{one.trades:,}", first, last, f"{one.gaps:,}", f"{one.missing:,}"]


def _cell(text: str) -> str:
    return f"<td>{_escaped(text)}</td>"


def _escaped(text: str) -> str:
    return html.escape(printable(text))


def _second(time_us: int) -> str:
    return id_runs.text(time_us)[: len("2025-11-10T12:00:00")].replace("T", " ")
