"""Checks of the days in a footer of ``bulk_trades`` against the rows, whose places alone assign them to days."""

from __future__ import annotations

from datetime import date
from typing import Final

import numpy as np
import pyarrow as pa

from recorder.archive.datasets import remedy
from recorder.archive.imported_history import History
from recorder.archive.parquet import OpenFile
from recorder.core.certificate import DAY_US
from recorder.errors import UnsoundFile
from recorder.lazy_imports import pc

_EPOCH: Final = date(1970, 1, 1).toordinal()


class DayClaims:
    """The days of one file, in order; :meth:`add` its rows."""

    def __init__(self, file: OpenFile) -> None:
        history = file.footer.history or History()
        self._file = file
        self._days = np.array([day.day for day in history.days], np.int64)
        self._members = pa.array([history.members[day.member].short for day in history.days], pa.string())
        self._ends = np.cumsum([day.rows for day in history.days], dtype=np.int64)
        self._count = 0

    def add(self, rows: pa.Table) -> None:
        """Check the next rows. Raises UnsoundFile."""
        if not len(self._days):
            return
        numbers = np.arange(self._count, self._count + rows.num_rows)
        self._count += rows.num_rows
        places = np.minimum(np.searchsorted(self._ends, numbers, side="right"), len(self._days) - 1)
        stray = rows["time"].cast(pa.int64()).to_numpy() // DAY_US != self._days[places]
        stray |= pc.not_equal(rows["member"], self._members.take(pa.array(places))).to_numpy()
        if stray.any():
            when = date.fromordinal(_EPOCH + int(self._days[places[np.argmax(stray)]]))
            raise UnsoundFile(
                self._file.path, f"has other rows of {when} than its footer claims", remedy(self._file.path)
            )
