"""Rows of a member in the order of their times, as far as that is expected: single wrong times are set aside.

A single wrong time must not cost the rows after it, so a row is judged by its neighbours: wrong is the one that steps
back, or the one before it if that lies far ahead of both its neighbours.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from recorder.history.numbered_rows import LineFormat, Numbered, Odd

_SINGLY: Final = 1_000
"""Rows out of order in a block that are judged one by one; of more, all that step back are set aside."""
_IMPOSSIBLE: Final = "at its time no trade can have been made"
_OUT_OF_ORDER: Final = "its time is out of order"


class InOrder:
    """Passes rows on whose times are ``possible`` (µs since 1970 UTC) and no more than ``back_us`` before another's."""

    def __init__(self, form: LineFormat, possible: tuple[int, int], back_us: int) -> None:
        self._possible = possible
        self._back_us = back_us
        self._latest_us = -1
        self.held = form.columns().empty_table()
        """The last row so far. It waits for the next: if that steps back from it, one of the two is wrong."""

    def add(self, read: Numbered) -> tuple[pa.Table, list[Odd]]:
        """Add rows; return those that are in order now, and the lines that are none of them, with why."""
        rows, odd = self._checked(pa.concat_tables([self.held, read.rows]), read.odd)
        cut = max(0, rows.num_rows - 1)
        self.held = rows.slice(cut)
        return self._passed(rows.slice(0, cut)), odd

    def rest(self) -> pa.Table:
        """Return the last row."""
        rows, self.held = self.held, self.held.slice(0, 0)
        return self._passed(rows)

    def _passed(self, rows: pa.Table) -> pa.Table:
        if rows.num_rows:
            self._latest_us = max(self._latest_us, int(times_us(rows).max()))
        return rows

    def _checked(self, rows: pa.Table, odd: list[Odd]) -> tuple[pa.Table, list[Odd]]:
        times = times_us(rows)
        wrong = (times < self._possible[0]) | (times >= self._possible[1])
        if wrong.any():
            rows, odd = _without(rows, wrong, odd, _IMPOSSIBLE)
        for _ in range(_SINGLY):
            times = times_us(rows)
            steps_back = self._steps_back(times)
            if not steps_back.any():
                return rows, odd
            at = int(np.argmax(steps_back))
            if at and times[at] >= int(np.max(times[: at - 1], initial=self._latest_us)) - self._back_us:
                at -= 1  # without the row before, this one would not step back
            rows, odd = _without(rows, np.arange(len(times)) == at, odd, _OUT_OF_ORDER)
        return _without(rows, self._steps_back(times_us(rows)), odd, _OUT_OF_ORDER)

    def _steps_back(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        latest = np.maximum.accumulate(np.concatenate([[self._latest_us], times]))[:-1]
        return np.asarray(times < latest - self._back_us)


def times_us(rows: pa.Table) -> npt.NDArray[np.int64]:
    """Return the times of rows in µs since 1970 UTC."""
    times: npt.NDArray[np.int64] = rows["time"].combine_chunks().view(pa.int64()).to_numpy()
    return times


def set_apart(rows: pa.Table, why: str) -> list[Odd]:
    """Return rows as lines that do not count."""
    names = rows.column_names[1:-1]
    return [
        Odd(row["row"], ",".join([f"{int(row['time'].timestamp())}", *(str(row[name]) for name in names)]), why)
        for row in rows.to_pylist()
    ]


def _without(rows: pa.Table, wrong: npt.NDArray[np.bool_], odd: list[Odd], why: str) -> tuple[pa.Table, list[Odd]]:
    """Return the rows that are not wrong, and the odd lines with those that are."""
    more = set_apart(rows.filter(pa.array(wrong)), why)
    return rows.filter(pa.array(~wrong)), sorted([*odd, *more])
