"""The archive as a Python object: SQL, trades, candles, the exchange's candles, coverage, gaps, events.

Owns: what users call, and what it says. :mod:`recorder.query.reader` answers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from recorder.core.event_kinds import EventKind
from recorder.query import arguments
from recorder.query.arguments import Backend, Format, Instant, OnGap
from recorder.query.dataframes import WORDS, Frame, frame
from recorder.query.reader import BATCH_ROWS, Reader, Result, TradeQuery

_TRADE_CATEGORIES: Final = ("side", "ord_type", "source")
_CANDLE_CATEGORIES: Final = ("timeframe",)
_OHLC_CATEGORIES: Final = ("timeframe", "source")
_CERTIFICATES: Final = "SELECT * EXCLUDE (sha256) FROM certificates ORDER BY pair, day"
_HASHED: Final = """
SELECT * REPLACE (
    CASE WHEN rows = certified_rows AND sha256 <> certified_sha256 AND status <> 'pending' THEN 'open' ELSE status END
    AS status
)
FROM certificates
ORDER BY pair, day
"""
_KINDS: Final = tuple(str(kind) for kind in EventKind)
_LACKED: Final = ("first_id", "last_id", "certified_rows")
"""Columns of certificates that are empty on days without trades, or that were never certified."""


def connect(
    data: str | Path = "data",
    *,
    live: bool = False,
    frozen: bool = False,
    check: bool = False,
    threads: int | None = None,
    memory: str | None = None,
) -> Archive:
    """Open the archive in the folder ``data`` for reading. Takes no lock, writes nothing, and needs no recorder.

    By default each call sees what is archived now. ``live`` adds the trades that are only in the journal yet, so that
    one is seen within a second of its arrival; the exchange's candles, events and instruments come with the next
    drain, some minutes later. ``frozen`` keeps one moment until :meth:`Archive.refresh`. ``check`` reads every file
    that a question may touch, once, and raises CorruptFile where its bytes are not those that were written: DuckDB
    itself looks at no checksum. A question takes at most so many ``threads`` and so much ``memory`` ("2GB"), of what is
    left to itself all cores and four fifths of the memory. Raises NoSuchArchive, UsageError.

    >>> import recorder
    >>> with recorder.connect(data) as archive:
    ...     archive.pairs()
    ['BTC/USD', 'ETH/USD']
    """
    bounds = arguments.bounds(threads, memory)
    reader = Reader(Path(data).absolute(), live=live, frozen=frozen, check=check, bounds=bounds)
    reader.refresh()
    return Archive(reader)


class Archive:
    """An archive, open for reading; for the thread that made it (:meth:`cursor` gives another thread its own).

    Frames come as pandas unless ``to`` is "arrow" or "polars". Prices and quantities are doubles, or, with
    ``decimals=True``, exactly what was recorded. Times are UTC. A moment is a datetime with a time zone, ISO 8601 text
    with one, or a day, which begins at midnight UTC; None is an open end.

    In pandas ``side``, ``ord_type``, ``timeframe`` and ``source`` are categories of the same words in the same order in
    every frame, and ``pair`` is one of the pairs asked for: pandas.concat() of frames of different pairs makes it text,
    so ask for several pairs at once, or use pandas.api.types.union_categoricals(). Frames without rows have the same
    types. With ``dtype_backend="pyarrow"`` columns have Arrow's types, and these are texts.

    Frames of trades and candles say in ``df.attrs`` (in Arrow's metadata under ``recorder``, as JSON) on what they
    rest: ``coverage``, of each pair the runs of ids used; ``missing``, how many ids are known to be missing in the
    range; and ``digest``, the SHA-256 of those ids (:func:`recorder.query.provenance.digest`). Trades never change, so
    equal digests mean the same trades, whatever came or was merged meanwhile. With ``hashed=True`` there is also
    ``sha256``, of each pair that of its canonical rows (docs/format.md), for which all are read once more.
    """

    def __init__(self, reader: Reader) -> None:
        """Ask through ``reader``; called by :func:`connect`."""
        self._reader = reader

    def sql(
        self,
        text: str,
        /,
        *,
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        **params: object,
    ) -> Frame:
        """Return the rows of one SQL statement over the views and macros; ``$name`` stands for a parameter.

        It only reads (:mod:`recorder.query.read_only_sql`), also frames of the caller, ``FROM df``, and files, ``FROM
        'x.csv'``; what would write, or set something, is a UsageError.

        A moment among the parameters has a time zone. A pair without trades is a UsageError where a macro is given it.

        >>> archive.sql("SELECT max(price) AS highest FROM trades WHERE pair = $pair", pair="BTC/USD")
           highest
        0    102.0
        """
        self._check(to, dtype_backend)
        return frame(self._reader.sql(text, params, exact=decimals), to, backend=dtype_backend)

    def register(self, name: str, rows: Frame) -> None:
        """Let :meth:`sql` see a frame of yours, from pandas, Arrow or polars, under a name; a cursor does not see it.

        >>> import pandas as pd
        >>> archive.register("signals", pd.DataFrame({"trade_id": [2], "score": [0.5]}))
        >>> archive.sql("SELECT trade_id, price, score FROM trades JOIN signals USING (trade_id)")
           trade_id  price  score
        0         2  102.0    0.5
        """
        self._check()
        self._reader.register(name, rows)

    def pairs(self) -> list[str]:
        """Return the pairs of which there are trades, sorted.

        >>> archive.candles(archive.pairs(), "1d")["pair"].astype(str).tolist()
        ['BTC/USD', 'ETH/USD']
        """
        self._check()
        return sorted(self._reader.pairs())

    def trades(
        self,
        pair: str | Iterable[str],
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        hashed: bool = False,
    ) -> Frame:
        """Return the trades of one pair, or of several in the order given, in ascending id.

        ``start`` is inclusive, ``stop`` exclusive. Columns: pair, trade_id, time, price, qty, side, ord_type, misc,
        source, received. Raises GapError if trades of this range are known to be missing (void ids, which the exchange
        does not have, and disowned ones are not), unless ``on_gap`` is "warn" or "ignore"; UsageError for a pair of
        which there are none.

        >>> found = archive.trades("BTC/USD", "2025-11-10T12:00:00Z", "2025-11-10T12:00:03Z")
        >>> found[["trade_id", "price", "qty", "side"]]
           trade_id  price  qty side
        0         1  101.0  1.0  buy
        1         2  102.0  1.0  buy
        >>> found.attrs["coverage"]
        {'BTC/USD': [[1, 2]]}
        """
        self._check(to, dtype_backend)
        limits = arguments.time_range(start, stop)
        question = TradeQuery(arguments.pairs(pair), limits, arguments.on_gap(on_gap), decimals, hashed)
        return _framed(self._reader.trades(question), to, dtype_backend, _fixed(question.pairs, _TRADE_CATEGORIES))

    def candles(
        self,
        pair: str | Iterable[str],
        timeframe: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        hashed: bool = False,
    ) -> Frame:
        """Return the candles of one pair or several that begin in the range, built from trades, exactly.

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, complete. A bar
        without trades has no row; ``complete`` is false where a trade of the bar may be missing, as in the newest.
        Raises GapError as :meth:`trades` does.

        >>> found = archive.candles("BTC/USD", "1m", "2025-11-10", "2025-11-11")
        >>> found[["open", "high", "low", "close", "volume", "count"]]
            open   high    low  close  volume  count
        0  101.0  102.0  100.0  100.0     3.0      3
        """
        self._check(to, dtype_backend)
        limits = arguments.time_range(start, stop).in_bars(arguments.timeframe(timeframe))
        question = TradeQuery(arguments.pairs(pair), limits, arguments.on_gap(on_gap), decimals, hashed)
        answer = self._reader.candles(question, timeframe)
        return _framed(answer, to, dtype_backend, _fixed(question.pairs, _CANDLE_CATEGORIES))

    def batches(
        self,
        pair: str | Iterable[str],
        start: Instant = None,
        stop: Instant = None,
        *,
        rows: int = BATCH_ROWS,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
        check: bool = False,
    ) -> Iterator[Frame]:
        """Return what :meth:`trades` does piece by piece, for ranges that do not fit memory.

        A piece is of one pair, has ``rows`` rows at most, in ascending id, and its own ``df.attrs``. All are of the
        moment of this call, whatever comes or is merged while they are read; other calls may come in between. ``check``
        is that of :func:`connect`, for this call.

        >>> [len(piece) for piece in archive.batches(["BTC/USD", "ETH/USD"], rows=2)]
        [2, 1, 1]
        """
        self._check(to, dtype_backend)
        limits = arguments.time_range(start, stop)
        question = TradeQuery(arguments.pairs(pair), limits, arguments.on_gap(on_gap), decimals, checked=check)
        pieces, warning = self._reader.pieces(question, arguments.rows(rows))
        if warning is not None:
            warnings.warn(warning, stacklevel=2)
        categories = _fixed(question.pairs, _TRADE_CATEGORIES)
        return (_framed(piece, to, dtype_backend, categories) for piece in pieces)

    def ohlc(
        self,
        pair: str | Iterable[str],
        timeframe: str,
        start: Instant = None,
        stop: Instant = None,
        *,
        filled: bool = False,
        on_gap: OnGap = "raise",
        to: Format = "pandas",
        dtype_backend: Backend = None,
        decimals: bool = False,
    ) -> Frame:
        """Return the candles of one pair or several that the exchange published and that begin in the range.

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, source, seen; of
        each the version seen last, oldest first. Every interval has one, with or without trades. ``filled`` puts in
        those that were lost because nobody asked in time, if they can be proven from trades, with the source "trades"
        (the view ``ohlc_filled``). Raises GapError where candles are lost between those there are, unless ``on_gap``
        is "warn" or "ignore"; ``df.attrs["missing"]`` counts them. The view ``ohlc_gaps`` lists all.

        >>> archive.ohlc("BTC/USD", "1m", "2025-11-10")[["open", "high", "low", "close", "vwap", "volume", "count"]]
            open   high    low  close   vwap  volume  count
        0  101.0  102.0  100.0  100.0  101.0     3.0      3
        """
        self._check(to, dtype_backend)
        arguments.timeframe(timeframe)
        question = TradeQuery(
            arguments.pairs(pair), arguments.time_range(start, stop), arguments.on_gap(on_gap), decimals
        )
        answer = self._reader.ohlc(question, timeframe, filled=filled)
        return _framed(answer, to, dtype_backend, _fixed(question.pairs, _OHLC_CATEGORIES))

    def events(
        self,
        start: Instant = None,
        stop: Instant = None,
        *,
        kind: str | None = None,
        pair: str | None = None,
        to: Format = "pandas",
        dtype_backend: Backend = None,
    ) -> Frame:
        """Return what happened to the recorder and at the exchange in the range, oldest first.

        Columns: time, kind, pair (None for what concerns no single one), detail (a JSON object as text).

        >>> archive.events("2025-11-10", kind="connected")[["kind", "detail"]]
                kind            detail
        0  connected  {"connection":1}
        """
        self._check(to, dtype_backend)
        limits = arguments.time_range(start, stop)
        given = {"kind": kind, "pair": pair}
        wanted = {column: arguments.text(column, value) for column, value in given.items() if value is not None}
        found = self._reader.events(wanted, limits)
        return frame(found, to, categories={"kind": _KINDS}, backend=dtype_backend)

    def coverage(self, *, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return the runs of ids held: pair, first_id, last_id, first_time, last_time, rows.

        >>> archive.coverage()[["pair", "first_id", "last_id", "rows"]]
              pair  first_id  last_id  rows
        0  BTC/USD         1        3     3
        1  ETH/USD         1        1     1
        """
        return self.sql("FROM coverage ORDER BY pair, first_id", to=to, dtype_backend=dtype_backend)

    def gaps(self, *, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return the holes between them: pair, first_id, last_id, missing, after_time, before_time, state.

        >>> len(archive.gaps())
        0
        """
        return self.sql("FROM gaps ORDER BY pair, first_id", to=to, dtype_backend=dtype_backend)

    def certificates(self, *, hashed: bool = False, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return what is proven of each UTC day of each pair, as files say of themselves; the columns of the view.

        ``hashed`` adds the column sha256, for which every row is read and set as text: for a few days ask in SQL. Only
        then a day whose content was replaced since it was certified is open.
        ``recorder verify`` does the same and trusts no file.

        >>> archive.certificates()[["pair", "status", "rows", "missing"]].head(1)
              pair status  rows  missing
        0  BTC/USD   open     3        0
        """
        self._check(to, dtype_backend)
        found = self._reader.sql(_HASHED if hashed else _CERTIFICATES, {}, exact=False, hashed=hashed)
        return frame(found, to, nullable=_LACKED, backend=dtype_backend)

    def refresh(self) -> None:
        """Move a frozen connection to this moment. The others do so at each call anyway.

        >>> archive.refresh()
        """
        self._check()
        self._reader.refresh()

    def cursor(self) -> Archive:
        """Return the same view of the same archive for the calling thread; of a frozen one, the same moment.

        >>> with archive.cursor() as mine:
        ...     mine.pairs()
        ['BTC/USD', 'ETH/USD']
        """
        return Archive(self._reader.beside())

    def close(self) -> None:
        """Let go of all it holds. Closing twice is no mistake."""
        self._reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, to: Format = "arrow", dtype_backend: Backend = None) -> None:
        self._reader.check()
        arguments.output(to)
        arguments.backend(dtype_backend)


def _fixed(pairs: Sequence[str], columns: Sequence[str]) -> dict[str, Sequence[str]]:
    """Return the categories of these columns and of the pair, which are the same however many rows there are."""
    return {"pair": pairs, **{column: WORDS[column] for column in columns}}


def _framed(answer: Result, to: Format, backend: Backend, categories: Mapping[str, Sequence[str]]) -> Frame:
    """Return the answer as a frame, and warn whoever called the caller of this."""
    if answer.warning is not None:
        warnings.warn(answer.warning, stacklevel=3)
    return frame(answer.let_go(), to, categories=categories, backend=backend, attrs=answer.attrs)
