"""Kraken's downloadable history files, made from the sandbox's own market, with the defects that real ones have.

Contains the text of each layout (API.md 11, 16.2) and ZIPs of them. Written independently of ``kraken/``, so that an
import is judged against the market itself.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from recorder.core.trade_ids import Span
from recorder.sandbox.pairs import REST_QTY_DIGITS
from recorder.sandbox.tape import MARKET, SELL, Tape
from recorder.sandbox.wire_format import fixed

HEADER: Final = "Price,Volume,Timestamp,Type,Miscellaneous,Trade ID"
"""Six names over seven fields, as Kraken prints them."""
DEBRIS: Final = {"__MACOSX/._XBTUSD.csv": b"\x00\x05\x16\x07Mac OS X", "EMPTY.csv": b""}
"""Members that the Finder adds, and an empty one."""
_NS: Final = 1_000_000_000
_CENTRAL: Final = b"PK\x01\x02"
_END: Final = b"PK\x05\x06"


@dataclass(frozen=True, slots=True)
class Print:
    """How a member is printed: with a header, a malformed first row, other line ends, and decimals of a second."""

    header: bool = True
    odd_first_line: bool = False
    line_end: str = "\n"
    time_digits: int = 6


DEFAULT: Final = Print()


def trades(tape: Tape, span: Span, printed: Print = DEFAULT) -> bytes:
    """Return a member of the newer layout: ``price,volume,time,side,order type,misc,trade id``."""
    lines = [HEADER] if printed.header else []
    return _text([*lines, *_trade_lines(tape, span, printed.time_digits)], printed)


def classic(tape: Tape, span: Span, printed: Print = DEFAULT) -> bytes:
    """Return a member of the older layout: ``second,price,volume``, without header, in the order of execution."""
    rows = tape.rows(span)
    lines = [f"{time_ns // _NS},{_price(tape, price)},{_qty(tape, qty)}" for _, time_ns, price, qty, _ in rows]
    return _text(lines, printed)


def ohlcvt(tape: Tape, span: Span, minutes: int, printed: Print = DEFAULT) -> bytes:
    """Return a member of candles: ``start,open,high,low,close,volume,trades``; none for an interval without trades.

    Volumes are sums of doubles, as Kraken's are.
    """
    width_s = minutes * 60
    bars: dict[int, list[tuple[int, int]]] = {}
    for _, time_ns, price, qty, _ in tape.rows(span):
        bars.setdefault(time_ns // _NS // width_s * width_s, []).append((price, qty))
    lines = []
    for begin_s, rows in bars.items():
        prices = [price for price, _ in rows]
        ends = prices[0], max(prices), min(prices), prices[-1]
        volume = sum(qty / 10**tape.qty_digits for _, qty in rows)
        lines.append(f"{begin_s},{','.join(_price(tape, price) for price in ends)},{volume!r},{len(rows)}")
    return _text(lines, printed)


def _trade_lines(tape: Tape, span: Span, digits: int) -> Iterator[str]:
    unit_ns = 10 ** (9 - digits)
    for trade_id, time_ns, price, qty, mark in tape.rows(span):
        side, kind = "s" if mark & SELL else "b", "m" if mark & MARKET else "l"
        yield (f"{_price(tape, price)},{_qty(tape, qty)},{fixed(time_ns // unit_ns, digits)},{side},{kind},,{trade_id}")


def _price(tape: Tape, price: int) -> str:
    return fixed(price, tape.price_digits)


def _qty(tape: Tape, qty: int) -> str:
    return fixed(qty * 10 ** (REST_QTY_DIGITS - tape.qty_digits), REST_QTY_DIGITS)


def _text(lines: list[str], printed: Print) -> bytes:
    if printed.odd_first_line:
        lines = ["1,", *lines]
    return "".join(line + printed.line_end for line in lines).encode()


def write_zip(path: Path, members: Mapping[str, bytes], *, wrap: int = 0) -> Path:
    """Write a ZIP with these members; with ``wrap``, its offsets are modulo that, as the Finder's are modulo 2**32."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    if wrap:
        path.write_bytes(_wrapped(bytearray(path.read_bytes()), wrap))
    return path


def _wrapped(content: bytearray, wrap: int) -> bytearray:
    at = content.find(_CENTRAL)
    while at >= 0:
        _wrap(content, at + 42, wrap)
        at = content.find(_CENTRAL, at + 4)
    _wrap(content, content.rfind(_END) + 16, wrap)
    return content


def _wrap(content: bytearray, at: int, wrap: int) -> None:
    (offset,) = struct.unpack_from("<I", content, at)
    struct.pack_into("<I", content, at, offset % wrap)
