"""Kraken's downloadable history files: which layout a file has, what a line of it says, and which pair it is of.

The layout changed between quarters, and the newer one has a header with six names over seven fields (API.md 11, 16.2).
So it is recognised by the lines themselves, file by file, and a file of no known layout is refused with the lines seen.
Lines are read here one at a time, exactly; this is also the definition of what the columnar reader of ``history/`` may
accept.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from typing import Final, NamedTuple

import msgspec

from recorder.core import model
from recorder.core.evidence import LAST_US
from recorder.core.model import Side, Trade, check_exact
from recorder.errors import UsageError
from recorder.kraken.exact_numbers import quoted
from recorder.kraken.pair_names import v2_symbol


class Layout(enum.StrEnum):
    """The layouts of members, by what one row holds."""

    TRADES = "trades"
    """Since Q3 2025: ``price,volume,time,side,order type,misc,trade id``, with or without a header line."""
    CLASSIC = "classic"
    """Before: ``time,price,volume``, the time in whole seconds, without id and side."""
    OHLCVT = "ohlcvt"
    """``time,open,high,low,close,volume,trades``, the time in whole seconds; nothing for an interval without trades."""


HEADER: Final = "price,volume,timestamp,type,miscellaneous,trade id"
"""The header of the newer quarterly files, in lower case. It does not name the order type, the fifth field."""
SAMPLE_LINES: Final = 20
"""Lines that are looked at to recognise a layout: one odd line, also the first, does not hide it."""
TIMEFRAMES: Final[Mapping[int, str]] = {
    minutes: name for name, minutes in model.TIMEFRAMES.items() if minutes <= model.TIMEFRAMES["1d"]
}
"""Minutes in the name of an OHLCVT file → timeframe (API.md 11.1)."""
FIELDS: Final = 7
"""Fields of a row of the layout :attr:`Layout.TRADES`."""
SIDES: Final[Mapping[str, Side]] = {"b": "buy", "s": "sell"}
ORDER_TYPES: Final[Mapping[str, str]] = {"l": "limit", "m": "market"}
LAST_ID: Final = 10**18 - 1
"""Ids have at most 18 digits here, ten billion times the highest seen."""

_UNSIGNED: Final = r"(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBER: Final = re.compile(rf"[-+]?{_UNSIGNED}", re.ASCII)
_SECONDS: Final = r"\d{9,11}"
_ROWS: Final[Mapping[Layout, re.Pattern[str]]] = {
    Layout.TRADES: re.compile(rf"{_UNSIGNED},{_UNSIGNED},{_SECONDS}(?:\.\d*)?,[a-z],[a-z],[^,]*,\d+", re.ASCII),
    Layout.CLASSIC: re.compile(rf"{_SECONDS},{_UNSIGNED},{_UNSIGNED}", re.ASCII),
    Layout.OHLCVT: re.compile(rf"{_SECONDS}(?:,{_UNSIGNED}){{5}},\d+", re.ASCII),
}
_NAME: Final = re.compile(r"(?P<altname>[A-Za-z0-9.]+?)(?:_(?P<minutes>\d+))?\.csv", re.ASCII | re.IGNORECASE)
_NONE: Final = Decimal(0)
_VOLUME_UNIT: Final = Decimal(1).scaleb(-18)
_EXACT: Final = Context(prec=38, traps=[Inexact, InvalidOperation])
_BOM: Final = "\ufeff"
_LINE_ENDS: Final = re.compile(r"[\r\n]+")
_SECOND_US: Final = 1_000_000


class Detected(msgspec.Struct, frozen=True):
    """The layout of a member, and whether its first line is the header."""

    layout: Layout
    header: bool = False


class OddLine(ValueError):
    """A line that is no row of its file's layout; the message says why."""


def text_lines(content: bytes) -> list[str]:
    """Return the lines of a text, without their ends, empty lines and byte order marks; other bytes are replaced."""
    lines = (line.removeprefix(_BOM) for line in _LINE_ENDS.split(content.decode(errors="replace")))
    return [line for line in lines if line]


def detect(lines: Sequence[str]) -> Detected | None:
    """Return the layout of the member that begins with these lines (see :func:`text_lines`); None if it is not known.

    Lines of two layouts, or fewer rows than other lines, are no known layout.
    """
    header = bool(lines) and is_header(lines[0])
    sample = lines[header : SAMPLE_LINES + header]
    found = {layout: sum(1 for line in sample if row.fullmatch(line)) for layout, row in _ROWS.items()}
    likely = [layout for layout, rows in found.items() if rows]
    if len(likely) != 1 or 2 * found[likely[0]] < len(sample) or (header and likely[0] is not Layout.TRADES):
        return None
    return Detected(likely[0], header)


def time_begun_us(lines: Sequence[str], detected: Detected) -> int | None:
    """Return the time of the first row among these lines, in µs since 1970 UTC; None if none is a row."""
    at = 2 if detected.layout is Layout.TRADES else 0
    rows = (line for line in lines if _ROWS[detected.layout].fullmatch(line))
    return next((_time_us(line.split(",")[at]) for line in rows), None)


def is_header(line: str) -> bool:
    """Return whether a line is the header of the newer files, whatever its capitals and spaces."""
    return ",".join(name.strip() for name in line.lower().replace('"', "").split(",")) == HEADER


def unknown_layout(name: str, lines: Sequence[str]) -> str:
    """Return the message that refuses a member of no known layout, with the first lines seen."""
    seen = "; ".join(quoted(line) for line in lines[:3]) or "no lines"
    return (
        f"{name} has none of the known layouts (price,volume,time,side,order type,misc,trade id; time,price,volume; "
        f"time,open,high,low,close,volume,trades): it begins with {seen}"
    )


def trade_of(line: str, pair: str) -> Trade:
    """Read a row of the layout :attr:`Layout.TRADES`. Raises OddLine.

    Digits of the time beyond microseconds are cut off, as the stream does (API.md 7.3).
    """
    fields = line.split(",")
    if len(fields) != FIELDS:
        raise OddLine(f"it has {len(fields)} fields, not {FIELDS}")
    price, qty, seconds, side, ord_type, misc, trade_id = fields
    try:
        prices = _number(price), _number(qty)
        check_exact(*prices)
        return Trade(
            pair,
            _id(trade_id),
            _time_us(seconds),
            *prices,
            side=SIDES[side],
            ord_type=ORDER_TYPES.get(ord_type, ord_type),
            misc=misc,
            source="bulk",
            received_us=None,
        )
    except KeyError:
        raise OddLine(f"{quoted(side)} is no side") from None
    except ValueError as error:
        raise OddLine(str(error)) from None


class ClassicTrade(NamedTuple):
    """A row of the layout :attr:`Layout.CLASSIC`; the time is in whole seconds since 1970 UTC."""

    seconds: int
    price: Decimal
    qty: Decimal


class PrintedCandle(NamedTuple):
    """A row of the layout :attr:`Layout.OHLCVT`, all digits as printed; the start is in seconds since 1970 UTC."""

    seconds: int
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int


def classic_of(line: str) -> ClassicTrade:
    """Read a row of the layout :attr:`Layout.CLASSIC`. Raises OddLine."""
    seconds, price, qty = _fields(line, len(ClassicTrade._fields))
    try:
        prices = _number(price), _number(qty)
        check_exact(*prices)
        return ClassicTrade(_seconds(seconds), *prices)
    except ValueError as error:
        raise OddLine(str(error)) from None


def candle_of(line: str) -> PrintedCandle:
    """Read a row of the layout :attr:`Layout.OHLCVT`. Raises OddLine, also for a volume with more than 18 decimals."""
    seconds, *numbers, count = _fields(line, len(PrintedCandle._fields))
    try:
        prices = [_number(number) for number in numbers[:-1]]
        for price in prices:
            check_exact(price, _NONE)
        first, high, low, last = prices
        return PrintedCandle(_seconds(seconds), first, high, low, last, _volume(numbers[-1]), _count(count))
    except ValueError as error:
        raise OddLine(str(error)) from None


def _volume(text: str) -> Decimal:
    volume = _number(text)
    try:
        _EXACT.quantize(volume, _VOLUME_UNIT)
    except ArithmeticError:
        raise ValueError(f"the volume {quoted(text)} does not fit decimal128(38, 18) exactly") from None
    if volume < 0:
        raise ValueError(f"the volume {quoted(text)} is below zero")
    return volume


def _fields(line: str, count: int) -> list[str]:
    fields = line.split(",")
    if len(fields) != count:
        raise OddLine(f"it has {len(fields)} fields, not {count}")
    return fields


def _seconds(text: str) -> int:
    number = _number(text)
    if number != number.to_integral_value() or not 0 <= number <= LAST_US // _SECOND_US:
        raise ValueError(f"{quoted(text)} is no time in whole seconds since 1970")
    return int(number)


def _count(text: str) -> int:
    number = _number(text)
    if number != number.to_integral_value() or not 0 <= number <= LAST_ID:
        raise ValueError(f"{quoted(text)} is no number of trades")
    return int(number)


def _number(text: str) -> Decimal:
    text = text.strip(" \t")
    # Decimal itself would also accept underscores and words.
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"{quoted(text)} is no number")
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent that is far too large
        raise ValueError(f"{quoted(text)} is no number that can be held") from None


def _id(text: str) -> int:
    number = _number(text)
    if number != number.to_integral_value() or not 1 <= number <= LAST_ID:
        raise ValueError(f"{quoted(text)} is no trade id")
    return int(number)


def _time_us(text: str) -> int:
    number = _number(text)
    if not 0 <= number <= LAST_US // _SECOND_US:
        raise ValueError(f"{quoted(text)} is no time in seconds since 1970")
    return int(number * _SECOND_US)


class MemberName(msgspec.Struct, frozen=True):
    """What the name of a member says: the altname of the pair, and the minutes of an OHLCVT file."""

    altname: str
    minutes: int | None = None


def member_name(path: str) -> MemberName | None:
    """Return what the base name of a member says; None if it is no data: a folder, what macOS adds, another file.

    >>> member_name("TimeAndSales_Combined/XBTUSD.csv"), member_name("master_q4/XDGEUR_60.csv")
    (MemberName(altname='XBTUSD', minutes=None), MemberName(altname='XDGEUR', minutes=60))
    >>> member_name("__MACOSX/master_q4/._XDGEUR_60.csv") is None
    True
    """
    folders, _, name = path.replace("\\", "/").rpartition("/")
    found = _NAME.fullmatch(name)
    if found is None or "__MACOSX" in folders.split("/") or name.startswith("."):
        return None
    return MemberName(found["altname"], None if found["minutes"] is None else int(found["minutes"]))


def splits(altname: str, assets: Collection[str]) -> list[str]:
    """Return the pairs, as v2 symbols, into whose two ``assets`` (altnames) a concatenated name splits.

    >>> splits("ETHPYUSD", {"ETH", "PYUSD", "USD"}), splits("XBTUSD", {"XBT", "USD"}), splits("NEWUSD", {"USD"})
    (['ETH/PYUSD'], ['BTC/USD'], [])
    """
    return [
        v2_symbol(f"{altname[:at]}/{altname[at:]}")
        for at in range(1, len(altname))
        if altname[:at] in assets and altname[at:] in assets
    ]


class NameBook:
    """Finds the pair of each file name: as the user named it, as listed, or by splitting into two known assets.

    ``listed`` are v2 symbols by altname, ``assets`` the altnames of known assets, ``given`` v2 symbols by altname.
    """

    def __init__(self, listed: Mapping[str, str], assets: Collection[str], given: Mapping[str, str]) -> None:
        self._known = {**listed, **given}
        self._assets = frozenset(assets)

    def pair_of(self, altname: str) -> tuple[str, bool]:
        """Return the pair of an altname, and whether it was found only by splitting. Raises UsageError."""
        if altname in self._known:
            return self._known[altname], False
        found = splits(altname, self._assets)
        if len(found) == 1:
            return found[0], True
        fits = f"it may be {' or '.join(found)}" if found else "no two known assets make it up"
        raise UsageError(
            f"{altname} is the name of no listed pair, and {fits}: say which with --as {altname}=BASE/QUOTE"
        )


def names_given(arguments: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield altname and pair of arguments such as ``XBTUSD=BTC/USD``. Raises UsageError."""
    for argument in arguments:
        altname, _, pair = argument.partition("=")
        legs = pair.split("/")
        if not altname or len(legs) != 2 or not all(legs):
            raise UsageError(f"--as {argument}: write it as --as XBTUSD=BTC/USD")
        yield altname, v2_symbol(pair)
