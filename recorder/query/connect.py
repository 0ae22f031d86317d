"""The archive as a Python object: SQL, trades, candles, the exchange's candles, coverage, gaps, events.

Contains the public methods and their documentation. The queries are in :mod:`recorder.query.reader`.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from recorder.core.event_kinds import EventKind
from recorder.query import arguments
from recorder.query.arguments import Backend, Format, Instant, Lazily, OnGap
from recorder.query.dataframes import WORDS, Frame, frame
from recorder.query.polars_scan import lazy_frame
from recorder.query.reader import BATCH_ROWS, Reader, Result, TradeQuery

if TYPE_CHECKING:  # it takes as long to load as the rest
    from recorder.query.follow import After, Follower

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
"""Columns of certificates that are empty on days without trades, or on days never certified."""


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

    By default each call sees what is archived now. ``live`` adds the trades, the exchange's candles and the events that
    are still only in the journal, so that each is visible within a second of its arrival; listings, and the events that
    report revised or lost candles, arrive with the next drain, some minutes later. ``frozen`` keeps one snapshot until
    :meth:`Archive.refresh`. ``check`` reads every file that a query may touch, once, and raises CorruptFile if its
    bytes are not those that were written: DuckDB itself verifies no checksum. A query uses at most ``threads`` threads
    and ``memory`` memory ("2GB"); by default all cores and four fifths of the memory. Raises NoSuchArchive, UsageError.

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

    Frames are pandas unless ``to`` is "arrow" or "polars". Prices and quantities are doubles, or, with
    ``decimals=True``, exactly what was recorded. Times are UTC. A time argument is a datetime with a time zone, ISO
    8601 text with one, or a day, which begins at midnight UTC; None is an open end.

    In pandas ``side``, ``ord_type``, ``timeframe`` and ``source`` are categories with the same words in the same order
    in every frame, and the categories of ``pair`` are the requested pairs: pandas.concat() of frames of different pairs
    turns it into text, so request several pairs at once, or use pandas.api.types.union_categoricals(). Frames without
    rows have the same types. With ``dtype_backend="pyarrow"`` columns have Arrow's types, and these are texts.

    Frames of trades and candles describe in ``df.attrs`` (in Arrow's metadata under ``recorder``, as JSON) the data
    they are based on: ``coverage``, for each pair the runs of ids used; ``missing``, how many ids are known to be
    missing in the range; and ``digest``, the SHA-256 of those ids (:func:`recorder.query.provenance.digest`). Trades
    never change, so equal digests mean the same trades, whatever was added or merged meanwhile. With ``hashed=True``
    there is also ``sha256``, for each pair the digest of its canonical rows (docs/format.md), for which all rows are
    read once more.
    """

    def __init__(self, reader: Reader) -> None:
        """Query through ``reader``; called by :func:`connect`."""
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

        The statement may only read (:mod:`recorder.query.read_only_sql`), including the caller's frames, ``FROM df``,
        and files, ``FROM 'x.csv'``. A statement that writes, or changes a setting, raises UsageError.

        A time among the parameters must have a time zone. Passing a pair without trades to a macro raises UsageError.

        >>> archive.sql("SELECT max(price) AS highest FROM trades WHERE pair = $pair", pair="BTC/USD")
           highest
        0    102.0
        """
        self._check(to, dtype_backend)
        return _framed(self._reader.sql(text, params, exact=decimals), to, dtype_backend)

    def register(self, name: str, rows: Frame) -> None:
        """Register a frame (pandas, Arrow or polars) under a name for :meth:`sql`; cursors do not see it.

        >>> import pandas as pd
        >>> archive.register("signals", pd.DataFrame({"trade_id": [2], "score": [0.5]}))
        >>> archive.sql("SELECT trade_id, price, score FROM trades JOIN signals USING (trade_id)")
           trade_id  price  score
        0         2  102.0    0.5
        """
        self._check()
        self._reader.register(name, rows)

    def pairs(self) -> list[str]:
        """Return the pairs that have trades, sorted.

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
        does not have, and disowned ones do not count), unless ``on_gap`` is "warn" or "ignore"; UsageError for a pair
        without trades.

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
        """Return the candles of one pair or several that begin in the range, built exactly from trades.

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
        """Return the rows of :meth:`trades` in batches, for ranges that do not fit in memory.

        A batch belongs to one pair, has at most ``rows`` rows, in ascending id, and its own ``df.attrs``. All batches
        belong to the snapshot of this call, whatever is added or merged while they are read; other calls may be made in
        between. ``check`` is that of :func:`connect`, for this call.

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

        Columns: pair, timeframe, time (of its start), open, high, low, close, vwap, volume, count, source, seen; for
        each candle the version seen last, oldest candle first. Every interval has one, with or without trades.
        ``filled`` adds candles that were lost because they were not requested in time, if they can be proven from
        trades, with the source "trades" (the view ``ohlc_filled``). Raises GapError if candles are lost between
        existing ones, unless ``on_gap`` is "warn" or "ignore"; ``df.attrs["missing"]`` counts them. The view
        ``ohlc_gaps`` lists all.

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
        """Return the events of the recorder and of the exchange in the range, oldest first.

        Columns: time, kind, pair (None for an event that concerns no single pair), detail (a JSON object as text).

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
        """Return the runs of stored ids: pair, first_id, last_id, first_time, last_time, rows.

        >>> archive.coverage()[["pair", "first_id", "last_id", "rows"]]
              pair  first_id  last_id  rows
        0  BTC/USD         1        3     3
        1  ETH/USD         1        1     1
        """
        return self.sql("FROM coverage ORDER BY pair, first_id", to=to, dtype_backend=dtype_backend)

    def gaps(self, *, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return the gaps between runs: pair, first_id, last_id, missing, after_time, before_time, state.

        >>> len(archive.gaps())
        0
        """
        return self.sql("FROM gaps ORDER BY pair, first_id", to=to, dtype_backend=dtype_backend)

    def certificates(self, *, hashed: bool = False, to: Format = "pandas", dtype_backend: Backend = None) -> Frame:
        """Return what is proven about each UTC day of each pair, according to the files themselves; the view's columns.

        ``hashed`` adds the column sha256, for which every row is read and formatted as text: for a few days use SQL.
        Only then is a day reported open if its content was replaced since it was certified. ``recorder verify`` does
        the same and trusts no file. If a file of events cannot be read, every day is "unknown", also in SQL; a warning
        and ``df.attrs["unknown"]`` give the reason.

        >>> archive.certificates()[["pair", "status", "rows", "missing"]].head(1)
              pair status  rows  missing
        0  BTC/USD   open     3        0
        """
        self._check(to, dtype_backend)
        found = self._reader.sql(_HASHED if hashed else _CERTIFICATES, {}, exact=False, hashed=hashed)
        return _framed(found, to, dtype_backend, nullable=_LACKED)

    def scan(
        self,
        pair: str | Iterable[str],
        start: Instant = None,
        stop: Instant = None,
        *,
        on_gap: OnGap = "raise",
        to: Lazily = "polars",
    ) -> Any:  # noqa: ANN401 -- a polars.LazyFrame or a pyarrow.dataset.Dataset
        """Return the trades of one pair or several as a polars LazyFrame, or as a pyarrow Dataset, without reading any.

        A LazyFrame lists the archive, and judges its gaps, whenever it is collected, whatever was added or merged
        meanwhile. Only the columns and files that it needs are read. A Dataset has the files as they are now; reading
        it raises FilesReplaced once one of them has been merged into another: scan again. Columns are those of
        :meth:`trades`; prices and quantities are exact, texts are no categories. A LazyFrame is in ascending id.

        >>> import polars as pl
        >>> archive.scan("BTC/USD").filter(pl.col("price") > 101).select("trade_id").collect().to_series().to_list()
        [2]
        >>> archive.scan("BTC/USD", to="dataset").count_rows()
        3
        """
        self._check()
        limits = arguments.time_range(start, stop)
        scan = self._reader.scan(TradeQuery(arguments.pairs(pair), limits, arguments.on_gap(on_gap), exact=True))
        if arguments.scanned(to) == "polars":
            return lazy_frame(scan)
        from recorder.query.dataset_scan import dataset  # noqa: PLC0415 -- imports what only few need

        return dataset(scan)

    def follow(self, pair: str | Iterable[str], after: After = None) -> Follower:
        """Return an iterator of the trades of one pair or several that waits for more: ``for trade in …``.

        Each trade comes once it is durable, also of a frozen connection or one that is not ``live``, and each pair in
        ascending id without omission: while ids before it are missing and still to be fetched, a trade waits. Ids that
        need not be waited for are named by the next trade of the pair (:class:`recorder.query.follow.LiveTrade`).
        Begins behind the newest trade; or behind the id ``after``, or the id of each pair in a dict, and then first
        returns what is stored since. ``follower.after`` is such a dict, to be kept by whoever wants to resume.
        ``async for`` works as well, and ``close()`` ends the iteration.

        >>> with archive.follow("BTC/USD", after=1) as trades:
        ...     trade = next(trades)
        >>> trade.trade_id, trade.price, trade.side
        (2, Decimal('102.000000000000'), 'buy')
        """
        self._check()
        from recorder.query.follow import Follower  # noqa: PLC0415 -- likewise

        return Follower(self._reader.data, arguments.pairs(pair), after)

    def refresh(self) -> None:
        """Move a frozen connection to a new snapshot. Other connections do so at each call.

        >>> archive.refresh()
        """
        self._check()
        self._reader.refresh()

    def cursor(self) -> Archive:
        """Return the same view of the same archive for the calling thread; of a frozen one, the same snapshot.

        >>> with archive.cursor() as mine:
        ...     mine.pairs()
        ['BTC/USD', 'ETH/USD']
        """
        return Archive(self._reader.beside())

    def interrupt(self) -> None:
        """End the query that another thread is running here, if any: there it raises KeyboardInterrupt.

        The one method that any thread may call.

        >>> archive.interrupt()
        """
        self._reader.interrupt()

    def close(self) -> None:
        """Release all resources. Closing twice is allowed."""
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
    """Return the categories of these columns and of the pair, which do not depend on the rows."""
    return {"pair": pairs, **{column: WORDS[column] for column in columns}}


def _framed(
    answer: Result,
    to: Format,
    backend: Backend,
    categories: Mapping[str, Sequence[str]] | None = None,
    nullable: Sequence[str] = (),
) -> Frame:
    """Return the result as a frame, and emit warnings at the call site of the caller."""
    if answer.warning is not None:
        warnings.warn(answer.warning, stacklevel=3)
    attrs = answer.attrs or None  # of SQL there are none, and the metadata of its table stays
    return frame(answer.let_go(), to, categories=categories, nullable=nullable, backend=backend, attrs=attrs)
