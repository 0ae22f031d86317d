"""The keyword arguments of an archive's methods, as types: they keep the overloads on ``to`` short.

An overload has ``to`` and the arguments that are often given by position; all others are in one of these. Where
``on_gap`` is "split" the methods return lists, so that those of a method are in two types.
"""

from __future__ import annotations

from typing import Literal, Required, TypedDict

from recorder.query.arguments import Backend, BarGap, BarKind, Clock, Index, Instant, OnGap

Pandas = Literal["pandas"]
Arrow = Literal["arrow"]
Polars = Literal["polars"]
Split = Literal["split"]


class Typed(TypedDict, total=False):
    """Of every method: the types of the columns of a pandas frame."""

    dtype_backend: Backend


class Exact(Typed, total=False):
    """Of methods with prices and times: unrounded decimals, and the index of a pandas frame."""

    decimals: bool
    index: Index


class Hashed(Exact, total=False):
    """Of methods over trades: the digests of the rows that the answer rests on."""

    hashed: bool


class Trades(Hashed, total=False):
    """Of ``trades()``."""

    on_gap: OnGap


class BrokenTrades(Hashed, total=False):
    """Of ``trades()`` as a list."""

    on_gap: Required[Split]


class Candles(Hashed, total=False):
    """Of ``candles()``."""

    on_gap: BarGap
    bulk: bool


class BrokenCandles(Hashed, total=False):
    """Of ``candles()`` as a list."""

    on_gap: Required[Split]
    bulk: bool


class _AnyBars(Hashed, total=False):
    kind: BarKind
    filled: bool
    origin: Instant


class Bars(_AnyBars, total=False):
    """Of ``bars()``."""

    on_gap: BarGap


class BrokenBars(_AnyBars, total=False):
    """Of ``bars()`` as a list."""

    on_gap: Required[Split]


class Ohlc(Exact, total=False):
    """Of ``ohlc()``."""

    filled: bool
    on_gap: BarGap


class BrokenOhlc(Exact, total=False):
    """Of ``ohlc()`` as a list."""

    filled: bool
    on_gap: Required[Split]


class Closes(Hashed, total=False):
    """Of ``closes()``."""

    on_gap: BarGap


class Quotes(Exact, total=False):
    """Of ``quotes()`` and ``book()``."""

    on_gap: OnGap


class Books(Typed, total=False):
    """Of methods that answer what was in a book."""

    decimals: bool
    by: Clock


class BookDepth(Books, total=False):
    """Of ``book_at()``."""

    depth: int


class BookSnapshots(BookDepth, total=False):
    """Of ``book_snapshots()``."""

    wide: bool


class DepthBars(Books, total=False):
    """Of ``depth_bars()``."""

    basis_points: float


class Batches(Exact, total=False):
    """Of ``batches()``, ``quote_batches()`` and ``book_batches()``."""

    rows: int
    on_gap: OnGap
    check: bool


class Events(Typed, total=False):
    """Of ``events()``."""

    kind: str | None
    pair: str | None
    index: Index
