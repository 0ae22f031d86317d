"""NautilusTrader: a catalog of instruments, bars, trades, quotes and book changes, written by its own package.

The layout of a catalog changes between its releases, so :mod:`recorder.exports.nautilus_writer` is run by a Python that
has nautilus_trader, and gets the rows through a pipe. Numbers are exact. ``ts_event`` is the exchange's time (of a bar
its end), ``ts_init`` when the row was received; it never falls.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final

import numpy as np
import pyarrow as pa

from recorder.errors import CheckFailed, DiskError, UsageError
from recorder.exports.folder import NewFolder
from recorder.exports.local_times import UNKNOWN, LocalTimes
from recorder.exports.request import Kind, Request, Series, file_names
from recorder.exports.rows import Rows, Tally, micros
from recorder.lazy_imports import pc
from recorder.query import arguments

_WRITER: Final = Path(__file__).with_name("nautilus_writer.py")
_LOOK: Final = "import importlib.metadata as m; print(m.version('nautilus_trader'))"
_BARS: Final = {
    "1m": "1-MINUTE",
    "5m": "5-MINUTE",
    "15m": "15-MINUTE",
    "30m": "30-MINUTE",
    "1h": "1-HOUR",
    "4h": "4-HOUR",
    "1d": "1-DAY",
}
"""Its weeks begin on Mondays, ours on Thursdays."""
_COLUMNS: Final = {
    Kind.TRADES: ("price", "qty", "side", "trade_id"),
    Kind.QUOTES: ("bid", "ask", "bid_qty", "ask_qty"),
    Kind.BOOK: ("price", "qty", "side", "message"),
    Kind.CANDLES: ("open", "high", "low", "close", "volume"),
}
_DIGITS: Final = {
    Kind.TRADES: ("trades", ("price",), ("qty",)),
    Kind.CANDLES: ("trades", ("price",), ("qty",)),
    Kind.QUOTES: ("quotes", ("bid", "ask"), ("bid_qty", "ask_qty")),
    Kind.BOOK: ("book", ("price",), ("qty",)),
}
"""The table from which rows of a kind come, and its columns of prices and quantities."""
_BATCH: Final = 50_000
"""Rows in a message to the writer: as objects of nautilus some 50 MB."""


class Nautilus:
    """A catalog for NautilusTrader, written by ``python``."""

    name = "nautilus"
    kinds = (Kind.CANDLES, Kind.TRADES, Kind.QUOTES, Kind.BOOK)
    is_exact = True
    needs_book = False

    def __init__(self, python: Path = Path(sys.executable)) -> None:
        self._python = python
        self.layout = "catalog of nautilus_trader"

    def check(self, request: Request) -> None:
        """Raise UsageError for timeframes that it has not, and if there is no nautilus_trader."""
        file_names(request.pairs, "/", "")
        for timeframe in request.timeframes:
            if timeframe not in _BARS:
                raise UsageError(f"nautilus has no {timeframe} bars like ours: use {', '.join(_BARS)}")
        try:
            found = subprocess.run([self._python, "-P", "-c", _LOOK], capture_output=True, text=True, check=False)  # noqa: S603
        except OSError as error:
            raise UsageError(f"{self._python} cannot be run ({error.strerror}): give --python a Python") from None
        if found.returncode:
            raise UsageError(
                f"{self._python} has no nautilus_trader: make an environment of its own, "
                "`python3.12 -m venv nautilus && nautilus/bin/pip install nautilus_trader`, and name its Python: "
                "--python nautilus/bin/python"
            )
        self.layout = f"catalog of nautilus_trader {found.stdout.strip()}"

    def write(self, rows: Rows, folder: NewFolder) -> Iterator[Series]:
        """Write all series through one process."""
        with tempfile.TemporaryFile() as errors:
            command = [str(self._python), "-P", str(_WRITER), str(folder.aside)]
            with _begun(command, errors) as writer:
                assert writer.stdout is not None
                found = _sent(rows, writer)
                answer = writer.stdout.read()
            if writer.returncode:
                errors.seek(0)
                lines = errors.read().decode(errors="replace").strip().splitlines() or ["it was killed"]
                failed = DiskError if writer.returncode == DiskError.exit_code else CheckFailed
                raise failed(f"nautilus_trader did not write the catalog: {lines[-1]}")
        left_out = json.loads(answer)["left_out"]
        for one in found:
            count = left_out.get(f"{one.pair} {one.kind}")
            yield Series(
                one.pair, one.kind, one.rows, one.timeframe, {**one.facts, **({"left_out": count} if count else {})}
            )


def _begun(command: list[str], errors: IO[bytes]) -> subprocess.Popen[bytes]:
    """Begin the writer, in a session of its own: Ctrl-C reaches it through us."""
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=errors, start_new_session=True)  # noqa: S603


def _sent(rows: Rows, writer: subprocess.Popen[bytes]) -> list[Series]:
    """Send all series to the writer. If it ends before that, its exit code and its last line of errors say why."""
    assert writer.stdin is not None
    found: list[Series] = []
    try:
        for pair in rows.pairs:
            found += _pair(rows, pair, writer.stdin)
    except BrokenPipeError:
        pass
    except BaseException:
        writer.kill()
        raise
    finally:
        with contextlib.suppress(BrokenPipeError):
            writer.stdin.close()
    return found


def _pair(rows: Rows, pair: str, pipe: IO[bytes]) -> Iterator[Series]:
    kinds = [kind for kind in Nautilus.kinds if rows.has(pair, kind)]
    instrument = _instrument(rows, pair, kinds)
    for kind in kinds:
        if kind is Kind.CANDLES:
            for timeframe in rows.request.timeframes:
                described = instrument | {"kind": str(kind), "bar": _BARS[timeframe]}
                tally = Tally()
                _send(pipe, described, _candles(rows, pair, timeframe, tally))
                yield Series(pair, kind, tally.rows, timeframe, tally.facts())
            continue
        tally, times = Tally(), LocalTimes()
        _send(pipe, instrument | {"kind": str(kind)}, _stamped(rows, pair, kind, tally, times))
        yield Series(pair, kind, tally.rows, facts=tally.facts() | times.facts())


def _instrument(rows: Rows, pair: str, kinds: list[Kind]) -> dict[str, Any]:
    """Return the description of a pair: its newest listing, with as many digits as any stored value needs."""
    listings = rows.listings(pair)
    digits = {"pair_decimals": 0, "lot_decimals": 0}
    for name in digits:
        digits[name] = max((one[name] for one in listings), default=0)
    for table, prices, quantities in {_DIGITS[kind] for kind in kinds}:
        digits["pair_decimals"] = max(digits["pair_decimals"], rows.digits(pair, table, prices))
        digits["lot_decimals"] = max(digits["lot_decimals"], rows.digits(pair, table, quantities))
    base, _, quote = pair.partition("/")
    newest: dict[str, Any] = (
        listings[0] if listings else {"base": base, "quote": quote, "tick_size": None, "ordermin": None}
    )
    price_digits, qty_digits = digits.values()
    return {
        "pair": pair,
        "base": newest["base"],
        "quote": newest["quote"],
        "price_digits": price_digits,
        "qty_digits": qty_digits,
        "price_increment": _fixed(newest["tick_size"], price_digits)
        or _fixed(Decimal(1).scaleb(-price_digits), price_digits),
        "size_increment": _fixed(Decimal(1).scaleb(-qty_digits), qty_digits),
        "min_quantity": _fixed(newest["ordermin"], qty_digits),
    }


def _fixed(value: Decimal | None, digits: int) -> str | None:
    """Return a number with exactly so many digits after the point; None if it is none, not above zero, or has more.

    >>> _fixed(Decimal("0.1"), 2), _fixed(Decimal("0.001"), 2)
    ('0.10', None)
    """
    if value is None or value <= 0 or round(value, digits) != value:
        return None
    return f"{value:.{digits}f}"


def _candles(rows: Rows, pair: str, timeframe: str, tally: Tally) -> Iterator[pa.Table]:
    width_us = arguments.timeframe_us(timeframe)
    for batch in rows.candles(pair, timeframe, exact=True):
        tally.add(batch)
        ends_ns = (micros(batch, "time") + width_us) * 1_000
        yield _selected(batch, Kind.CANDLES, ends_ns, ends_ns)


def _stamped(rows: Rows, pair: str, kind: Kind, tally: Tally, times: LocalTimes) -> Iterator[pa.Table]:
    for batch, more in _batches(rows, pair, kind):
        tally.add(batch)
        made_us = micros(batch, "time")
        local_us = times.of(made_us, micros(batch, "received"))
        made_us = np.where(made_us == UNKNOWN, local_us, made_us)
        found = _selected(batch, kind, made_us * 1_000, local_us * 1_000)
        for name, values in more.items():
            found = found.append_column(name, pa.array(values))
        yield found


def _batches(rows: Rows, pair: str, kind: Kind) -> Iterator[tuple[pa.Table, dict[str, Any]]]:
    match kind:
        case Kind.TRADES:
            yield from ((batch, {}) for batch in rows.trades(pair, exact=True))
        case Kind.QUOTES:
            yield from ((batch, {}) for batch in rows.quotes(pair, exact=True))
        case _:
            for batch in rows.book(pair, exact=True):
                message = batch.rows["message"].to_numpy()
                first, last = np.ones(len(message), bool), np.ones(len(message), bool)
                first[1:] = last[:-1] = message[1:] != message[:-1]
                marks = {"replaces": batch.replaces, "clears": batch.replaces & first, "ends": last}
                yield batch.rows, marks


def _selected(rows: pa.Table, kind: Kind, made_ns: Any, local_ns: Any) -> pa.Table:  # noqa: ANN401 -- of numpy
    columns = {name: rows[name] for name in _COLUMNS[kind]}
    for name in {"side", "trade_id"} & columns.keys():
        columns[name] = pc.cast(columns[name], pa.string())
    return pa.table(columns | {"ts_event": made_ns, "ts_init": local_ns})


def _send(pipe: IO[bytes], described: dict[str, Any], batches: Iterator[pa.Table]) -> None:
    """Send a series as one Arrow stream; nothing if it has no rows."""
    first = next(batches, None)
    if first is None:
        return
    columns = first.schema.with_metadata({b"nautilus": json.dumps(described).encode()})
    with pa.ipc.new_stream(pipe, columns) as stream:
        stream.write_table(first.cast(columns), max_chunksize=_BATCH)
        for batch in batches:
            stream.write_table(batch.cast(columns), max_chunksize=_BATCH)
