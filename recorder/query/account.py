"""The read side of an own account: a DuckDB of its own over the account's folder, which nothing else opens."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

import duckdb
import msgspec
import pyarrow as pa

from recorder.archive import account_certificate, account_rows
from recorder.archive.account_tables import TABLES
from recorder.archive.datasets import Branch
from recorder.archive.layout import Layout
from recorder.core.account_trail import AccountCertificate, ordered
from recorder.disk import undisturbed
from recorder.errors import UsageError
from recorder.query import catalogue, dataframes, read_only_sql
from recorder.query.dataframes import Frame
from recorder.query.decimal_to_double import decimal_to_double
from recorder.query.explain_error import FAULTS, explain_error

if TYPE_CHECKING:
    from recorder.query.connect import Archive

VIEWS: Final = ("tables", "fills", "fees", "transfers", "balance_history")
_SETTINGS: Final[dict[str, str | bool | int | float | list[str]]] = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}
_ORDER: Final = "account_order"
_ENTRIES: Final = (
    "SELECT l.* FROM account_ledger AS l JOIN account_order AS o USING (id) ORDER BY l.seconds, o.position"
)
_EXPORTS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "ledgers": (_ENTRIES, ("txid", "refid", "time", "type", "subtype", "aclass", "asset", "amount", "fee", "balance")),
    "trades": (
        "FROM account_trades ORDER BY time, id",
        (
            "txid",
            "ordertxid",
            "pair",
            "time",
            "type",
            "ordertype",
            "price",
            "cost",
            "fee",
            "vol",
            "margin",
            "misc",
            "ledgers",
        ),
    ),
}
"""Kraken's own exports: their rows, and their columns, named as the fields of the private endpoints are."""
_SLIPPAGE: Final = """
WITH
known AS (SELECT DISTINCT ON (key) key, pair FROM instruments ORDER BY key, valid_from DESC),
own AS (
    SELECT f.* REPLACE (coalesce(k.pair, f.pair) AS pair)
    FROM own_fills AS f
    LEFT JOIN known AS k ON k.key = f.pair
),
tape AS (
    SELECT t.pair, t.trade_id, t.price, t.qty
    FROM trades AS t
    WHERE t.pair IN (SELECT pair FROM own)
        AND t.trade_id IN (SELECT trade_id FROM own)
),
matched AS (
    SELECT o.*, t.price AS tape_price, t.qty AS tape_qty
    FROM own AS o
    LEFT JOIN tape AS t USING (pair, trade_id)
)
SELECT
    m.id, m.time, m.pair, m.side, m.price, m.qty, m.trade_id, m.tape_price, m.tape_qty,
    CASE
        WHEN m.trade_id IS NULL THEN 'unmatched'
        WHEN m.tape_price IS NULL THEN 'not recorded'
        WHEN m.tape_price = m.price AND m.tape_qty = m.qty THEN 'equal'
        ELSE 'differs'
    END AS tape,
    q.bid, q.ask,
    (m.price - (q.bid + q.ask) / 2) * CASE m.side WHEN 'buy' THEN 1 ELSE -1 END AS slippage
FROM matched AS m
ASOF LEFT JOIN (SELECT pair, received, bid, ask FROM quotes WHERE bid > 0 AND ask > 0) AS q
    ON q.pair = m.pair AND q.received <= m.time
ORDER BY m.time, m.id
"""
"""Own fills beside the public trade of the same id, and the quote before them. Unlike SQL over an archive it needs the
listing, because own trades name pairs by Kraken's key."""


def connect_account(path: Path | str) -> Account:
    """Open the account in the folder ``path`` for reading. Raises UsageError if there is none, or others can read it.

    The recorder may be running: each call sees what is stored by then.
    """
    return Account(account_rows.existing(Path(path).resolve()))


class Account:
    """An own account, for reading; of one thread. Methods return a pandas frame, or with ``to`` Arrow or polars.

    Numbers are doubles in pandas and polars, and exact decimals in Arrow. Times are UTC.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._connection = duckdb.connect(config=_SETTINGS)
        self._connection.execute("SET TimeZone = 'UTC'")
        # A question cannot read other files, such as that of the key.
        self._connection.execute("SET allowed_directories = $folders", {"folders": [str(layout.data)]})
        self._connection.execute("SET enable_external_access = false")
        self._refresh()
        self._connection.execute("CREATE TABLE account_order (id VARCHAR, position BIGINT)")
        for name in VIEWS:
            self._connection.execute(catalogue.text(f"account/{name}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def sql(self, text: str, *, to: str = "pandas", **params: object) -> Frame:
        """Return the rows of one SQL statement over the account's views; ``$name`` stands for a parameter.

        Raises UsageError for what DuckDB cannot do, and for what does not only read.
        """
        read_only_sql.check(self._connection, text)
        return self._frame(undisturbed(functools.partial(self._rows, text, params), "the files of the account"), to)

    def ledger(self, *, to: str = "pandas") -> Frame:
        """Return the ledger entries in the order of time, those of the same time as they lead to each other."""
        return self.sql(_ENTRIES, to=to)

    def fills(self, *, to: str = "pandas") -> Frame:
        """Return own fills with the fees that were really deducted, by time."""
        return self.sql("FROM fills ORDER BY time, id", to=to)

    def orders(self, *, to: str = "pandas") -> Frame:
        """Return closed orders, by the time at which they were closed."""
        return self.sql("FROM account_orders ORDER BY time, id", to=to)

    def fees(self, *, to: str = "pandas") -> Frame:
        """Return the sums of fees by month, asset and type of entry."""
        return self.sql("FROM fees ORDER BY month, asset, type", to=to)

    def transfers(self, *, to: str = "pandas") -> Frame:
        """Return deposits, withdrawals and transfers, by time."""
        return self.sql("FROM transfers ORDER BY time, id", to=to)

    def balance_history(self, *, to: str = "pandas") -> Frame:
        """Return the balance of each asset at the end of each day that has an entry of it."""
        return self.sql("FROM balance_history ORDER BY asset, asset_class, day", to=to)

    def certificate(self) -> AccountCertificate:
        """Return the certificate of the account, from what is on disk now."""
        return undisturbed(lambda: account_certificate.certificate(self._layout), "the files of the account")

    def slippage(self, archive: Archive, *, to: str = "pandas") -> Frame:
        """Return own fills beside the public trades and quotes that ``archive`` has recorded.

        ``tape`` is ``equal``, ``differs``, ``not recorded``, or ``unmatched`` for trades from before Kraken numbered
        them. ``slippage`` is in quote currency a unit, above zero where the price was worse than the middle of the last
        quote before; NULL where no quote is recorded.
        """
        fills = self.sql("SELECT id, time, pair, side, price, qty, trade_id FROM account_trades", to="arrow")
        archive.register("own_fills", fills)
        return self._frame(archive.sql(_SLIPPAGE, to="arrow", decimals=True), to)

    def kraken_csv(self, what: str) -> pa.Table:
        """Return ``ledgers`` or ``trades`` as texts with the columns of Kraken's own export, the oldest first.

        Numbers are as Kraken printed them. Raises UsageError for anything else.
        """
        if what not in _EXPORTS:
            raise UsageError(f"there is no export {what!r}: write {' or '.join(_EXPORTS)}")
        text, columns = _EXPORTS[what]
        rows = self.sql(text, to="arrow")
        found: dict[str, list[str]] = {name: [] for name in columns}
        for number, time, raw in zip(*(rows[name].to_pylist() for name in ("id", "time", "raw")), strict=True):
            cells = {name: _printed(value) for name, value in _fields(raw).items()}
            cells |= {"txid": number, "time": time.strftime("%Y-%m-%d %H:%M:%S")}
            for name in columns:
                found[name].append(cells.get(name, ""))
        return pa.table({name: pa.array(values, pa.string()) for name, values in found.items()})

    def _rows(self, text: str, params: dict[str, object]) -> pa.Table:
        self._refresh()
        if _ORDER in text or "balance_history" in text.lower():
            self._put_in_order()
        try:
            relation = self._connection.sql(text, params=params)
            if relation is None:
                raise UsageError(f"there is no SQL statement in {text!r}")
            return relation.to_arrow_table()
        except FAULTS as error:
            if isinstance(error, duckdb.IOException) and "No files found" in str(error):
                raise FileNotFoundError(str(error)) from error
            first = str(error).split("\n\n", maxsplit=1)[0].replace("\n", " ")
            raise explain_error(error, self._layout.data, self._files()) or UsageError(f"DuckDB: {first}") from error

    def _refresh(self) -> None:
        """Tell the views which files there are now. Listed by us: a glob misses files while a folder is exchanged."""
        for dataset in TABLES:
            paths = [str(path) for path in self._layout.files(Branch(dataset))]
            self._connection.execute(f"SET VARIABLE {dataset.name} = $paths", {"paths": paths})

    def _files(self) -> Iterator[str]:
        for dataset in TABLES:
            yield from map(str, self._layout.files(Branch(dataset)))

    def _put_in_order(self) -> None:
        ids = [entry.id for entry in ordered(account_rows.entries(self._layout))]
        order = pa.table({"id": pa.array(ids, pa.string()), "position": pa.array(range(len(ids)), pa.int64())})
        self._connection.register("order_now", order)
        try:
            self._connection.execute("CREATE OR REPLACE TABLE account_order AS FROM order_now")
        finally:
            self._connection.unregister("order_now")

    @staticmethod
    def _frame(table: pa.Table, to: str) -> Frame:
        if to == "arrow":
            return table
        for place, field in enumerate(table.schema):
            if pa.types.is_decimal(field.type):
                column = decimal_to_double(table.column(place))
                doubles = table.column(place).cast(pa.float64()) if column is None else column
                table = table.set_column(place, field.name, doubles)
        return dataframes.frame(table, to)


def _fields(raw: str) -> dict[str, msgspec.Raw]:
    return msgspec.json.decode(raw, type=dict[str, msgspec.Raw])


def _printed(raw: msgspec.Raw) -> str:
    """Return a value of JSON as a cell of CSV: texts and numbers as printed, lists with commas, null as nothing."""
    text = bytes(raw).decode()
    value: Any = msgspec.json.decode(text)
    if isinstance(value, list):
        return ",".join(str(one) for one in value)
    return str(value) if isinstance(value, str) else "" if value is None else text
