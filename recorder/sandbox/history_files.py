"""Kraken's downloadable history files, made from the sandbox's own market, with the defects that real ones have.

Contains the text of each layout (API.md 11, 16.2), ZIPs of them, and their :class:`Defect` s. Written independently of
``kraken/``, so that an import is judged against the market itself.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from recorder.core.trade_ids import Span
from recorder.sandbox.pairs import REST_QTY_DIGITS
from recorder.sandbox.tape import MARKET, SELL, Tape
from recorder.sandbox.wire_format import fixed

HEADER: Final = "Price,Volume,Timestamp,Type,Miscellaneous,Trade ID"
"""Six names over seven fields, as Kraken prints them."""
DEBRIS: Final = {
    "__MACOSX/._XBTUSD.csv": b"\x00\x05\x16\x07Mac OS X",
    "EMPTY.csv": b"",
    "QUIET.csv": f"{HEADER}\n".encode(),
}
"""A member that the Finder adds, an empty one, and one without trades."""
MINUTES: Final = (1, 5, 15, 30, 60, 240, 720, 1440)
"""The timeframes of OHLCVT, as in names of files."""
_NS: Final = 1_000_000_000
_CENTRAL: Final = b"PK\x01\x02"
_END: Final = b"PK\x05\x06"
_LOCAL_BYTES: Final = 30
"""Bytes of the header before a member, without its name and what is beside that."""


class Defect(StrEnum):
    """What can be wrong with history files, by its name on the command line."""

    NO_HEADER = "no-header"
    """Members of the newer layout lack their header; some real ones do."""
    ODD_FIRST_LINE = "odd-first-line"
    """Each member begins with a line that is no row."""
    ODD_LINE = "odd-line"
    """Each member has a line in its middle that is cut off."""
    CRLF = "crlf"
    """Lines end as on Windows."""
    COARSE_TIMES = "coarse-times"
    """Times of the newer layout have three decimals."""
    LATE_TIMES = "late-times"
    """Every tenth time of the newer layout is five seconds late."""
    ALTERED = "altered"
    """Every hundredth quantity of a member of trades is another one."""
    DOUBLED = "doubled"
    """Every hundredth row of a member of trades comes twice."""
    UNSORTED = "unsorted"
    """Neighbouring rows of a member of trades have changed places."""
    NESTED = "nested"
    """Members lie in folders within folders."""
    DEBRIS = "debris"
    """There are what the Finder adds, an empty member, one without trades, and one that is no data."""
    UNLISTED = "unlisted"
    """A member has the name of a pair that no listing knows: MONAUSD, which may be MON/AUSD or MONA/USD."""
    UNKNOWN_LAYOUT = "unknown-layout"
    """A member has a layout that is none of these."""
    ZIP64 = "zip64"
    """The ZIPs are written as those above 4 GB are."""
    DAMAGED = "damaged"
    """A byte of each ZIP's first member is another one: its checksum does not match."""
    CUT = "cut"
    """The ZIPs end in their middle, as downloads that were interrupted."""


@dataclass(frozen=True, slots=True)
class Print:
    """How a member is printed: with a header, a malformed first row, other line ends, and decimals of a second.

    Of ``defects`` those of rows count.
    """

    header: bool = True
    odd_first_line: bool = False
    line_end: str = "\n"
    time_digits: int = 6
    defects: frozenset[Defect] = frozenset()


DEFAULT: Final = Print()


def trades(tape: Tape, span: Span, printed: Print = DEFAULT) -> bytes:
    """Return a member of the newer layout: ``price,volume,time,side,order type,misc,trade id``."""
    lines = [HEADER] if printed.header else []
    rows = list(_trade_lines(tape, span, printed.time_digits))
    return _text([*lines, *_spoiled(rows, 1, printed.defects)], printed)


def classic(tape: Tape, span: Span, printed: Print = DEFAULT) -> bytes:
    """Return a member of the older layout: ``second,price,volume``, without header, in the order of execution."""
    rows = tape.rows(span)
    lines = [f"{time_ns // _NS},{_price(tape, price)},{_qty(tape, qty)}" for _, time_ns, price, qty, _ in rows]
    return _text(_spoiled(lines, 2, printed.defects), printed)


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


def write(tapes: Mapping[str, Tape], folder: Path, *, defects: Collection[Defect] = ()) -> list[Path]:
    """Write the history files of a market into ``folder``, named as Kraken's; files of these names are replaced.

    All trades made until now are in the quarterly files of the newer layout, in the complete file of the older one, and
    in the candles. Returns the paths of the ZIPs.
    """
    folder.mkdir(parents=True, exist_ok=True)
    have = {pair: tape for pair, tape in tapes.items() if tape.span is not None}
    quarters: dict[str, dict[str, bytes]] = {}
    whole, candles = dict[str, bytes](), dict[str, bytes]()
    for tape in have.values():
        name = tape.pair.altname
        for quarter, ids in _quarters(tape):
            quarters.setdefault(quarter, {})[f"{name}.csv"] = trades(tape, ids, _print(defects))
        everything = Span(tape.first_id, tape.last_id)
        older = _print({*defects, Defect.NO_HEADER})
        whole[f"TimeAndSales_Combined/{name}.csv"] = classic(tape, everything, older)
        for minutes in MINUTES:
            candles[f"master_q4/{name}_{minutes}.csv"] = ohlcvt(tape, everything, minutes, older)
    zips = {f"Kraken_Trading_History_{quarter}.zip": members for quarter, members in quarters.items()}
    zips |= {"Kraken_Trading_History.zip": whole, "Kraken_OHLCVT.zip": candles}
    return [_write_defective(folder / name, members, defects) for name, members in zips.items() if members]


def _quarters(tape: Tape) -> Iterator[tuple[str, Span]]:
    """Yield the quarters of a tape, as in names of files, and the ids that were made in each."""
    found: dict[str, tuple[int, int]] = {}
    for trade_id, time_ns, *_ in tape.rows(Span(tape.first_id, tape.last_id)):
        month = datetime.fromtimestamp(time_ns // _NS, UTC)
        quarter = f"Q{(month.month + 2) // 3}_{month.year}"
        found[quarter] = found.get(quarter, (trade_id, 0))[0], trade_id
    yield from ((quarter, Span(*ids)) for quarter, ids in found.items())


def _print(defects: Collection[Defect]) -> Print:
    return Print(
        header=Defect.NO_HEADER not in defects,
        odd_first_line=Defect.ODD_FIRST_LINE in defects,
        line_end="\r\n" if Defect.CRLF in defects else "\n",
        time_digits=3 if Defect.COARSE_TIMES in defects else 6,
        defects=frozenset(defects),
    )


def _spoiled(lines: list[str], at: int, defects: Collection[Defect]) -> list[str]:
    """Return rows of trades with defects; their quantity is the field ``at``."""
    if Defect.LATE_TIMES in defects and at == 1:
        lines = [_late(line) if number % 10 == 0 else line for number, line in enumerate(lines, 1)]
    if Defect.ALTERED in defects:
        lines = [_altered(line, at) if number % 100 == 0 else line for number, line in enumerate(lines, 1)]
    if Defect.UNSORTED in defects:
        lines = [line for pair in zip(lines[1::2], lines[::2], strict=False) for line in pair] + lines[
            len(lines) & ~1 :
        ]
    if Defect.DOUBLED in defects:
        lines = [line for number, one in enumerate(lines, 1) for line in [one] * (1 + (number % 100 == 0))]
    if Defect.ODD_LINE in defects:
        middle = len(lines) // 2
        lines = [*lines[:middle], lines[middle].rpartition(",")[0], *lines[middle:]]
    return lines


def _late(line: str) -> str:
    fields = line.split(",")
    second, point, fraction = fields[2].partition(".")
    fields[2] = f"{int(second) + 5}{point}{fraction}"
    return ",".join(fields)


def _altered(line: str, at: int) -> str:
    fields = line.split(",")
    fields[at] = f"1{fields[at]}"
    return ",".join(fields)


def _write_defective(path: Path, members: dict[str, bytes], defects: Collection[Defect]) -> Path:
    first = next(iter(members))
    if Defect.UNLISTED in defects:
        members = {**members, "MONAUSD.csv": members[first]}
    if Defect.UNKNOWN_LAYOUT in defects:
        members = {**members, "STRANGE.csv": b"a;b;c\n1;2;3\n"}
    if Defect.DEBRIS in defects:
        members = {**DEBRIS, "read me.txt": b"hello", **members}
    if Defect.NESTED in defects:
        members = {f"a folder/of {path.stem}/{name}": content for name, content in members.items()}
    write_zip(path, members, zip64=Defect.ZIP64 in defects)
    content = bytearray(path.read_bytes())
    if Defect.DAMAGED in defects:
        content[_begins(path, first) + 40] ^= 1
    if Defect.CUT in defects:
        del content[len(content) // 2 :]
    path.write_bytes(content)
    return path


def _begins(path: Path, name: str) -> int:
    """Return where the content of the first member whose name ends so begins in a ZIP."""
    with zipfile.ZipFile(path) as archive:
        offset = next(info.header_offset for info in archive.infolist() if info.filename.endswith(name))
    lengths = struct.unpack_from("<HH", path.read_bytes(), offset + _LOCAL_BYTES - 4)
    return int(offset + _LOCAL_BYTES + sum(lengths))


def write_zip(path: Path, members: Mapping[str, bytes], *, wrap: int = 0, zip64: bool = False) -> Path:
    """Write a ZIP with these members; with ``wrap``, its offsets are modulo that, as the Finder's are modulo 2**32."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            with archive.open(name, "w", force_zip64=zip64) as member:
                member.write(content)
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
