"""A market made from what Kraken really sent: pages served as history, sessions played frame by frame.

Contains when a recorded trade appears. Pages are history from the start, except the newest ``withheld`` rows of each,
which :meth:`Replay.burst` releases. A session starts with the first subscription to one of its pairs, and runs once, on
the exchange's own time line: a disconnected client misses frames, and finds their trades in REST, as on Kraken. Never
invents a trade or changes a stamp: recorded times stay, whatever the clock shows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from recorder.errors import UsageError
from recorder.sandbox.listing_changes import MarketRegister
from recorder.sandbox.market_protocol import PlayedFrame
from recorder.sandbox.pairs import Pair, SandboxListing
from recorder.sandbox.recordings import (
    RecordedFrame,
    RecordedPage,
    RecordedRow,
    RecordedSession,
    put,
    read_listing,
    read_page,
    read_session,
    tape_for,
)
from recorder.sandbox.tape import NewTrades, Tape

T = TypeVar("T")


class Replay:
    """Recorded pages and sessions as one market. ``speed`` is that of the sessions; 0 plays all at once."""

    def __init__(
        self,
        *,
        listed: Sequence[Pair] = (),
        pages: Sequence[RecordedPage] = (),
        sessions: Sequence[RecordedSession] = (),
        speed: float = 1.0,
        withheld: int = 0,
    ) -> None:
        pairs = {pair.symbol: pair for pair in listed}
        pairs |= {pair.symbol: pair for session in sessions for pair in session.pairs}
        pairs |= {page.pair.symbol: page.pair for page in pages}
        self._register = MarketRegister()
        self._tapes: dict[str, Tape] = {}
        self._withheld: dict[str, deque[RecordedRow]] = {}
        for page in pages:
            tape = self._new_tape(page.pair, page.rows)
            shown = max(0, len(page.rows) - withheld)
            put(tape, page.rows[:shown])
            self._withheld[page.pair.symbol] = deque(page.rows[shown:])
        self._sessions = [_Playing(session, speed) for session in sessions]
        for session in sessions:
            for pair in session.pairs:
                earlier = session.earlier.get(pair.symbol, ())
                rows = [row for frame in session.frames for row in frame.rows.get(pair.symbol, ())]
                put(self._new_tape(pair, [*earlier, *rows]), earlier)
        for pair in pairs.values():
            self._tapes.setdefault(pair.symbol, Tape(pair))
        self._register.fill({symbol: self._tapes[symbol] for symbol in pairs})

    def _new_tape(self, pair: Pair, rows: Sequence[RecordedRow]) -> Tape:
        if pair.symbol in self._tapes:
            raise UsageError(f"{pair.symbol} is in two recordings; give one recording of each pair")
        tape = self._tapes[pair.symbol] = tape_for(pair, rows)
        return tape

    @property
    def listing(self) -> SandboxListing:
        """The listed pairs."""
        return self._register.listing

    @property
    def tapes(self) -> Mapping[str, Tape]:
        """v2 symbol → everything that has appeared so far."""
        return self._register.tapes

    def advance(self, now_ns: int) -> list[NewTrades]:  # noqa: ARG002  # the interface of a market
        """Return nothing: whatever is due here is played as it was recorded."""
        return []

    def play(self, now_ns: int) -> list[PlayedFrame]:
        """Return the recorded frames due up to ``now_ns``; their trades have then appeared."""
        return [
            PlayedFrame(frame.text, frame.symbols or playing.session.symbols, tuple(self._make(frame)))
            for playing in self._sessions
            for frame in playing.due(now_ns)
        ]

    def burst(self, symbol: str, n: int, now_ns: int) -> list[NewTrades]:  # noqa: ARG002  # recorded times stay
        """Release the next ``n`` withheld trades of a page, or as many as there are."""
        waiting = self._withheld.get(symbol, deque())
        span = put(self._register.tapes[symbol], [waiting.popleft() for _ in range(min(n, len(waiting)))])
        return [NewTrades(symbol, span)] if span is not None else []

    def wanted(self, symbol: str, now_ns: int) -> None:
        """Start the session that has this pair, at its first subscription."""
        for playing in self._sessions:
            if symbol in playing.session.symbols:
                playing.start(now_ns)

    def enlist(self, pair: Pair, *, now_ns: int, trades_per_s: float) -> None:  # noqa: ARG002  # nothing is invented
        """List a pair without trades."""
        self._register.enlist(pair, now_ns=now_ns)

    def delist(self, symbol: str) -> None:
        """Remove a pair from the listing; a session's frames with its trades are played all the same."""
        self._register.delist(symbol)

    def relist(self, symbol: str, pair: Pair, *, now_ns: int) -> None:
        """Change the entry of a pair. Recorded frames name the pair as before, so it keeps its v2 symbol here."""
        if pair.symbol != symbol:
            raise UsageError(f"{symbol} cannot become {pair.symbol}: recorded frames go on calling it {symbol}")
        self._register.relist(symbol, pair, now_ns=now_ns)

    def renumber(self, symbol: str) -> None:
        """Refuse: recorded frames continue with their own ids."""
        raise UsageError(f"{symbol} cannot be renumbered: recorded frames go on with their own ids")

    def skip(self, paused_ns: int) -> None:
        """Postpone everything due by the time during which the market stood still."""
        for playing in self._sessions:
            playing.skip(paused_ns)

    def _make(self, frame: RecordedFrame) -> list[NewTrades]:
        spans = [(symbol, put(self._tapes[symbol], rows)) for symbol, rows in frame.rows.items()]
        return [NewTrades(symbol, span) for symbol, span in spans if span is not None]


class _Playing:
    """One session, its position, and when it started."""

    def __init__(self, session: RecordedSession, speed: float) -> None:
        self.session = session
        self._speed = speed
        self._started_ns: int | None = None
        self._next = 0

    def start(self, now_ns: int) -> None:
        if self._started_ns is None:
            self._started_ns = now_ns

    def skip(self, paused_ns: int) -> None:
        if self._started_ns is not None:
            self._started_ns += paused_ns

    def due(self, now_ns: int) -> Sequence[RecordedFrame]:
        if self._started_ns is None:
            return ()
        frames, first = self.session.frames, self._next
        reached_ns = (now_ns - self._started_ns) * self._speed
        while self._next < len(frames) and (not self._speed or frames[self._next].offset_ns <= reached_ns):
            self._next += 1
        return frames[first : self._next]


def replay_files(
    *,
    listings: Sequence[Path] = (),
    pages: Sequence[Path] = (),
    sessions: Sequence[Path] = (),
    speed: float = 1.0,
    withheld: int = 0,
) -> Replay:
    """Return the market of recorded files: AssetPairs answers, REST Trades answers, and sessions as JSON Lines."""
    listed = [pair for path in listings for pair in listing_of(path)]
    listing = SandboxListing(listed)
    return Replay(
        listed=listed,
        pages=[_read(path, lambda text: read_page(text, listing)) for path in pages],
        sessions=[_read(path, lambda text: read_session(text.splitlines(), listing)) for path in sessions],
        speed=speed,
        withheld=withheld,
    )


def listing_of(path: Path) -> list[Pair]:
    """Return the pairs of a recorded AssetPairs answer, in its order."""
    return _read(path, read_listing)


def _read(path: Path, reader: Callable[[str], T]) -> T:
    try:
        return reader(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; give a recorded file that can be read") from error
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error
    except (ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise UsageError(
            f"{path} is not a recording of this kind ({error!r}): was it given to the right option?"
        ) from error
