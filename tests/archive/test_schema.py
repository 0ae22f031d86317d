from __future__ import annotations

import pyarrow as pa

from recorder.archive.schema import TRADES, trades_table
from tests.archive.rows import trades


def test_rows_become_columns_of_exact_types() -> None:
    table = trades_table(trades(1, 3))
    assert table.schema == TRADES
    assert not {pa.float16(), pa.float32(), pa.float64()} & set(table.schema.types)
    assert trades_table([]).num_rows == 0
