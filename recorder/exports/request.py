"""What is to be exported, for which tool, and what has been: the values that all targets share. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final, Protocol

from recorder.errors import UsageError
from recorder.query.arguments import OnGap

if TYPE_CHECKING:
    from recorder.exports.folder import NewFolder
    from recorder.exports.rows import Rows


LACKING: Final = frozenset(("missing", "begins", "unknown", "outside", "incomplete_candles"))
"""Facts of a series of which rows are missing."""


class Kind(enum.StrEnum):
    """The kinds of rows that can be exported."""

    CANDLES = "candles"
    TRADES = "trades"
    QUOTES = "quotes"
    BOOK = "book"


@dataclass(frozen=True, slots=True)
class Request:
    """The pairs and the range (``start`` inclusive, ``stop`` exclusive; None an open end) of an export.

    ``kinds`` are those that were named; if none is, all that the tool takes and the archive has.
    """

    pairs: tuple[str, ...]
    start: str | None = None
    stop: str | None = None
    on_gap: OnGap = "raise"
    timeframes: tuple[str, ...] = ("1m",)
    kinds: tuple[Kind, ...] = ()

    def of(self, pairs: tuple[str, ...]) -> Request:
        """Return the same request for these pairs."""
        return replace(self, pairs=pairs)


@dataclass(frozen=True, slots=True)
class Series:
    """What was exported of one pair and kind; ``rows`` are those of the archive, ``facts`` are for the sidecar."""

    pair: str
    kind: Kind
    rows: int
    timeframe: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_complete(self) -> bool:
        """Whether there are rows, and the archive is known to have all of the range."""
        return self.rows > 0 and not LACKING & self.facts.keys()


class Target(Protocol):
    """A tool, and how its files are written."""

    @property
    def name(self) -> str:
        """The tool, as in ``--to``."""

    @property
    def layout(self) -> str:
        """The layout, and the release of the tool that it was loaded with."""

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What the tool takes."""

    @property
    def is_exact(self) -> bool:
        """Whether prices and quantities stay decimals; otherwise they are rounded to the nearest doubles."""

    @property
    def needs_book(self) -> bool:
        """Whether trades are of no use before the book of their pair begins."""

    def check(self, request: Request) -> None:
        """Raise UsageError, before anything is read, for what this tool does not take."""

    def write(self, rows: Rows, folder: NewFolder) -> Iterator[Series]:
        """Write the files of all pairs into the folder in batches, and yield each series once it is written."""


def chosen_kinds(target: Target, request: Request) -> tuple[Kind, ...]:
    """Return the kinds to export, in the order of the target. Raise UsageError for one that it does not take."""
    for kind in request.kinds:
        if kind not in target.kinds:
            raise UsageError(f"{target.name} takes {', '.join(target.kinds)}, not {kind}")
    return tuple(kind for kind in target.kinds if kind in (request.kinds or target.kinds))


def file_names(pairs: tuple[str, ...], replaced: str, by: str) -> dict[str, str]:
    """Return the name of each pair in file names, with each character in ``replaced`` replaced.

    Raise UsageError if two pairs have the same.

    >>> file_names(("BTC/USD",), "/.", "_")
    {'BTC/USD': 'BTC_USD'}
    """
    table = str.maketrans(dict.fromkeys(replaced, by))
    found: dict[str, str] = {}
    for pair in pairs:
        name = pair.translate(table)
        if name in found:
            raise UsageError(f"the files of {found[name]} and {pair} have the same name, {name}: export them apart")
        found[name] = pair
    return {pair: name for name, pair in found.items()}
