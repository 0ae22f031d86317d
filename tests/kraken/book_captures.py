"""Frames of the book channel: as the exchange prints them, and the three real sessions in ../shared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

import msgspec

from recorder.kraken.book import Digits

PAIR = "BTC/USD"
STAMP = "2026-07-07T23:00:03.501510Z"
Levels = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Capture:
    """The book frames of one connection, the depth, and the listed digits of each pair."""

    frames: list[bytes]
    depth: int
    digits: dict[str, Digits]


class _Framed(msgspec.Struct):
    frame: msgspec.Raw


class _Saved(msgspec.Struct):
    init: msgspec.Raw
    updates: list[msgspec.Raw]


def captures(payloads: Path) -> list[Capture]:
    """Return the sessions of 2,962, 30 and 510 frames; the numbers of the last have lost their trailing zeros."""
    folder = payloads / "ws_v2"
    mixed = (folder / "mixed/live_book10_trade_BTC-USD_ETH-USD_2026-07-07.jsonl").read_bytes().splitlines()
    mina = (folder / "book/live_MINA-GBP_d25_2026-08-16.jsonl").read_bytes().splitlines()
    saved = msgspec.json.decode((folder / "book/sdk_BTC-USD_d10_2023-07-30_v2.json").read_bytes(), type=_Saved)
    return [
        Capture(_of_book(mixed), 10, {PAIR: Digits(1, 8), "ETH/USD": Digits(2, 8)}),
        Capture(
            _of_book(bytes(msgspec.json.decode(line, type=_Framed).frame) for line in mina),
            25,
            {"MINA/GBP": Digits(4, 8)},
        ),
        Capture([bytes(one) for one in (saved.init, *saved.updates)], 10, {PAIR: Digits(1, 8)}),
    ]


def _of_book(frames: Iterable[bytes]) -> list[bytes]:
    return [frame for frame in frames if frame.startswith(b'{"channel":"book"')]


def frame(
    bids: Levels = (),
    asks: Levels = (),
    *,
    checksum: int | None = None,
    kind: str = "update",
    pair: str = PAIR,
    stamp: str = STAMP,
) -> bytes:
    """Return a frame with one row; without a ``checksum`` that of these levels alone, as a snapshot has."""
    return framed(row(bids, asks, checksum=checksum, pair=pair, stamp=stamp), kind=kind)


def framed(*rows: str, kind: str = "update") -> bytes:
    """Return a frame with these rows."""
    return f'{{"channel":"book","type":"{kind}","data":[{",".join(rows)}]}}'.encode()


def row(
    bids: Levels = (), asks: Levels = (), *, checksum: int | None = None, pair: str = PAIR, stamp: str = STAMP
) -> str:
    """Return one row."""

    def listed(levels: Levels) -> str:
        return ",".join(f'{{"price":{price},"qty":{qty}}}' for price, qty in levels)

    number = checksum_of(bids, asks) if checksum is None else checksum
    return (
        f'{{"symbol":"{pair}","bids":[{listed(bids)}],"asks":[{listed(asks)}],"checksum":{number},'
        f'"timestamp":"{stamp}"}}'
    )


def checksum_of(bids: Levels, asks: Levels) -> int:
    """Return the checksum of a book by the rule of the exchange's documents, step by step; best levels first."""
    joined = ""
    for side in (asks, bids):
        for level in side[:10]:
            for number in level:
                joined += number.replace(".", "").lstrip("0")
    return crc32(joined.encode())
