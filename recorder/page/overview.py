"""What the overview shows: plain values, and how they are written in the cells of its table. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from recorder.ops import health
from recorder.ops.health import HealthState
from recorder.page import templates

Word = Literal["recording", "catching up", "waiting", "stopped", "starting"]

PAGE_ROWS: Final = 1_000
"""Trades of one answer of the exchange, by which missing ones are fetched."""
_UNKNOWN: Final = "\N{EN DASH}"
SPARK_SLOTS: Final = 96
"""Places of a small line: quarters of an hour of the last day, the last one that of now."""
_FIRST_SLOTS: Final = 4
"""A small line that begins in the first hour of its day has the price of a day ago."""
GAPS: Final = 8
"""Gaps that are listed, the most recent ones."""
CALENDARS: Final = 100
"""Pairs in the calendar: those with the most open days, where there are more."""
STATUSES: Final = {
    "c": "complete",
    "p": "partial",
    "o": "open",
    ".": "pending",
    "e": "empty",
    "u": "unknown",
    " ": "not recorded",
}
"""The letters of a calendar, as :func:`recorder.reader.questions.history` writes them."""


@dataclass(frozen=True, slots=True)
class PairRow:
    """One pair. ``note`` is why it is not recorded as usual, if it is not; ``rate`` is in trades a minute.

    ``price``, ``last_us`` (µs since 1970 UTC), ``rate`` and ``today``, the trades of this UTC day, are None where they
    are unknown. ``spark`` are quarters of an hour of the last day, each with its close.
    """

    pair: str
    note: str = ""
    price: str | None = None
    last_us: int | None = None
    rate: float | None = None
    gaps: int = 0
    missing: int = 0
    today: int | None = None
    spark: Sequence[Sequence[float]] = ()

    def cells(self) -> dict[str, Any]:
        """Return the texts of the row's cells, the time of the last trade in ms, and the points of the small line."""
        return {
            "note": self.note,
            "price": _UNKNOWN if self.price is None else templates.grouped(self.price),
            "last": None if self.last_us is None else self.last_us // 1000,
            "rate": _UNKNOWN if self.rate is None else rate(self.rate),
            "gaps": f"{self.gaps:,}" if self.gaps else "none",
            "missing": f"{self.missing:,}" if self.missing else "",
            "today": _UNKNOWN if self.today is None else f"{self.today:,}",
            "change": self._change(),
            "spark": templates.line(self.spark, SPARK_SLOTS) if len(self.spark) > 1 else "",
        }

    def _change(self) -> str:
        """Return by how much the price differs from that of a day ago, as far as the small line knows that."""
        if self.price is None or not self.spark or self.spark[0][0] >= _FIRST_SLOTS or not self.spark[0][1]:
            return _UNKNOWN
        percent = 100 * (float(self.price) / self.spark[0][1] - 1)
        return f"{percent:+.2f} %".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True, slots=True)
class OpenGap:
    """A gap whose trades are fetched; times are µs since 1970 UTC, None where nothing is stored on that side."""

    pair: str
    first_id: int
    last_id: int
    after_us: int | None
    before_us: int | None

    @property
    def missing(self) -> int:
        """The number of its ids."""
        return self.last_id - self.first_id + 1


@dataclass(frozen=True, slots=True)
class SetAside:
    """A quarantined pair: its file, the problem and the remedy."""

    pair: str
    file: str
    problem: str
    remedy: str


@dataclass(frozen=True, slots=True)
class EventRow:
    """An event: when it was noted (µs since 1970 UTC), and its detail in a line."""

    time_us: int
    kind: str
    pair: str | None
    detail: str


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """The disk: bytes, and the seconds until it is full at the pace of the last day; infinite: never, None: unknown."""

    free: float
    total: float
    low: float
    runway_s: float | None


@dataclass(frozen=True, slots=True)
class Throttle:
    """The pace of REST, in requests a second, and the seconds for which requests and connections are paused."""

    per_s: float
    requests_in_s: float
    connects_in_s: float


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is not about a single pair. ``gaps`` are the first of ``gap_count`` ones, which miss ``missing`` ids.

    ``eta_s`` is how long fetching them takes at the present pace, None if nothing is fetched.
    """

    word: Word
    reasons: Sequence[str]
    archive: str
    since: str | None
    gaps: Sequence[OpenGap] = ()
    gap_count: int = 0
    missing: int = 0
    eta_s: float | None = None
    quarantined: Sequence[SetAside] = ()
    quarantined_count: int = 0
    disk: DiskRoom | None = None
    throttle: Throttle | None = None
    quotes: Mapping[str, Any] | None = None
    events: Sequence[EventRow] = ()


@dataclass(frozen=True, slots=True)
class History:
    """What the reader knows of the past: by pair its newest trade and small line, and the calendar.

    ``day`` is the UTC day of ``from_ids``, from which on a pair's trades are of that day.
    """

    day: str = ""
    first_day: str = ""
    prices: Mapping[str, tuple[int, str, str]] = field(default_factory=dict)
    from_ids: Mapping[str, int] = field(default_factory=dict)
    sparks: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    calendar: Mapping[str, str] = field(default_factory=dict)


class Source(Protocol):
    """Where the overview comes from. All calls but :meth:`refresh` are short."""

    async def refresh(self) -> None:
        """Look again at what is not known at every moment, if it is time to."""
        ...

    def pairs(self) -> Sequence[str]:
        """Return the pairs that are shown, sorted."""
        ...

    def row(self, pair: str, history: History) -> PairRow:
        """Return what is known of a pair."""
        ...

    def facts(self) -> Facts:
        """Return everything else."""
        ...


def history(answer: Mapping[str, Any]) -> History:
    """Return the history in an answer of the reader."""
    pairs = answer["pairs"]
    return History(
        answer["day"],
        answer["first_day"],
        {pair: (one["trade_id"], one["price"], one["time"]) for pair, one in pairs.items()},
        {pair: one["from_id"] for pair, one in pairs.items()},
        {pair: one["spark"] for pair, one in pairs.items()},
        answer["calendar"],
    )


def word(state: HealthState, *, fetching: bool) -> tuple[Word, list[str]]:
    """Return the state of a recorder in a word, and the reasons for it."""
    if dead := health.dead(state):
        return "stopped", dead
    if state.stopping:
        return "stopped", ["it is stopping: the journal is drained"]
    if reasons := health.not_ready(state):
        return "waiting", reasons
    return ("catching up", []) if fetching else ("recording", [])


def eta_s(gaps: Sequence[int], per_s: float) -> float | None:
    """Return how long fetching gaps of these lengths takes, a page of the exchange at a time."""
    pages = sum(-(-length // PAGE_ROWS) for length in gaps)
    return pages / per_s if pages and per_s > 0 else None


def rate(per_minute: float) -> str:
    """Return a rate as text; below ten with a decimal.

    >>> rate(0.04), rate(3.21), rate(1234.5)
    ('0', '3.2', '1,234')
    """
    if per_minute < 0.05:
        return "0"
    return f"{per_minute:.1f}" if per_minute < 10 else f"{per_minute:,.0f}"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Consecutive days of the same status: its letter, the place of the first, and their number."""

    letter: str
    begin: int
    days: int


def stretches(letters: str) -> list[Stretch]:
    """Return the days of a calendar as stretches.

    >>> [(one.letter, one.begin, one.days) for one in stretches("  oocc.")]
    [(' ', 0, 2), ('o', 2, 2), ('c', 4, 2), ('.', 6, 1)]
    """
    found: list[Stretch] = []
    for place, letter in enumerate(letters):
        if found and found[-1].letter == letter:
            found[-1] = Stretch(letter, found[-1].begin, found[-1].days + 1)
        else:
            found.append(Stretch(letter, place, 1))
    return found


def tally(letters: str) -> str:
    """Return the days of a calendar in words, the worst first.

    >>> tally("  oocc.")
    '2 open, 2 complete, 1 pending'
    """
    order = "uopc.e"
    counts = [(STATUSES[letter], letters.count(letter)) for letter in order if letter in letters]
    return ", ".join(f"{days} {status}" for status, days in counts) or "nothing recorded"


def worst_first(calendar: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the pairs of a calendar and their letters, as many as are shown, by name."""
    ordered = sorted(calendar.items(), key=lambda one: (-one[1].count("o") - one[1].count("u"), one[0]))
    return sorted(ordered[:CALENDARS])
