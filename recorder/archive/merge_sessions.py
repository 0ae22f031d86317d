"""What a merge brings of market data that is numbered by sessions: each message once, and sessions that tell of it.

Sessions of two recorders are different ones, and come as they are. The same session is in two archives only if one
began as a copy of the other, or was restored from it. Then a row is one that is stored here by its session and message,
but rows of `quote_sessions` are one for each drained segment, and an open segment that was copied was drained twice,
cut in two places. So what a row tells of messages that are counted here is taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from recorder.archive.datasets import Branch, Dataset
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.core.model import SessionPart
from recorder.core.trade_ids import Span, Spans
from recorder.disk import undisturbed

Counted: TypeAlias = Mapping[tuple[str, int], Spans]
"""Messages by pair and session."""

_BATCH: Final = 32_768
_KEY: Final = ["pair", "session"]


@dataclass(frozen=True, slots=True)
class _Rows:
    """How many rows there are of some messages, the first, and when the first and the last were received (µs)."""

    count: int = 0
    first_message: int | None = None
    first_us: int | None = None
    last_us: int | None = None


class SessionMerge:
    """Filters for :func:`merge_archive.rows_of`: of the ``rows`` of another archive, and of its ``sessions``.

    ``journalled`` are messages in our own journal, which the drain will bring.
    """

    def __init__(self, rows: Dataset, sessions: Dataset, ours: Layout, theirs: Layout, journalled: Counted) -> None:
        self._rows = rows
        self._sessions = sessions
        self._ours = ours
        self._theirs = theirs
        self._journalled = journalled

    def not_journalled(self, branch: Branch, rows: pa.Table) -> pa.Table:
        """Return the rows that are not in our journal."""
        for session in pc.unique(rows["session"]).to_pylist():
            for span in self._journalled.get((str(branch.pair), session), ()):
                rows = rows.filter(pc.invert(_within(rows, session, span)))
        return rows

    def not_counted(self, parts: pa.Table) -> pa.Table:
        """Return what parts of sessions tell of messages that none of ours does, nor will."""
        known = pa.concat_tables([self._known, _keys(self._journalled)], promote_options="permissive")
        shared = parts.join(known, _KEY, join_type="left semi").select(parts.column_names)
        if not shared.num_rows:
            return parts
        counted = undisturbed(lambda: self._counted(shared), self._files)
        left = [rest for part in _as_parts(shared) for rest in self._left(part, counted)]
        others = parts.join(known, _KEY, join_type="left anti").select(parts.column_names)
        return pa.concat_tables([others.cast(parts.schema), self._sessions.build(left)])

    def _left(self, part: SessionPart, counted: Counted) -> Iterator[SessionPart]:
        """Yield what a part tells of messages that are not ``counted``, and of the end of its session."""
        span_of_part = None if part.first_message is None else Span(part.first_message, part.last_message)
        left = [] if span_of_part is None else counted.get((part.pair, part.session), Spans()).missing(span_of_part)
        if span_of_part is None or left == [span_of_part]:
            yield part
            return
        for span in left:
            of_span = undisturbed(partial(self._found, part, span), f"the files of {part.pair}")
            yield _only(part, span, of_span, part.ended_us if span.last == span_of_part.last else None)
        if part.ended_us is not None and (not left or left[-1].last != span_of_part.last):
            yield _only(part, span_of_part, _Rows(), part.ended_us)

    @property
    def _files(self) -> str:
        return f"the files of {self._sessions.name}"

    @cached_property
    def _known(self) -> pa.Table:
        """The sessions of which our table tells."""

        def look() -> pa.Table:
            found = _keys(())
            for rows in self._parts(_KEY):
                found = pa.concat_tables([found, rows.cast(found.schema)]).group_by(_KEY).aggregate([])
            return found

        return undisturbed(look, self._files)

    def _counted(self, wanted: pa.Table) -> Counted:
        """Return the messages of which our table tells, or that are in our journal, of the wanted sessions."""
        keys = wanted.select(_KEY).group_by(_KEY).aggregate([])
        found = {key: Spans(spans) for key, spans in self._journalled.items()}
        for rows in self._parts([*_KEY, "first_message", "last_message"]):
            for row in rows.join(keys, _KEY, join_type="left semi").to_pylist():
                if row["first_message"] is not None:
                    held = found.setdefault((row["pair"], row["session"]), Spans())
                    held.add(Span(row["first_message"], row["last_message"]))
        return found

    def _parts(self, columns: list[str]) -> Iterator[pa.Table]:
        for path in self._ours.files(Branch(self._sessions)):
            with OpenFile(path) as file:
                yield from file.read(_BATCH, columns=columns)

    def _found(self, part: SessionPart, span: Span) -> _Rows:
        """Look up the rows of these messages in the other archive; they are a segment's at most."""
        messages, moments, stamp = list[int](), list[int](), str(self._rows.stamp)
        for path in self._theirs.files(Branch(self._rows, part.pair)):
            with OpenFile(path) as file:
                groups = [group for group in file.groups if _may_have(file, group, part.session)]
                for rows in file.read(_BATCH, groups=groups, columns=["session", "message", stamp]):
                    of_span = rows.filter(_within(rows, part.session, span))
                    messages += of_span["message"].to_pylist()
                    moments += of_span[stamp].cast(pa.int64()).to_pylist()
        if not messages:
            return _Rows()
        return _Rows(len(messages), min(messages), min(moments), max(moments))


def _keys(keys: Iterable[tuple[str, int]]) -> pa.Table:
    found = list(keys)
    columns = [pa.array([pair for pair, _ in found], pa.string()), pa.array([one for _, one in found], pa.int64())]
    return pa.table(columns, names=_KEY)


def _within(rows: pa.Table, session: int, span: Span) -> pa.ChunkedArray:
    inside = pc.and_(pc.greater_equal(rows["message"], span.first), pc.less_equal(rows["message"], span.last))
    return pc.and_(pc.equal(rows["session"], session), inside)


def _may_have(file: OpenFile, group: int, session: int) -> bool:
    first, last = file.limits("session", group)
    return bool(first <= session <= last)


def _only(part: SessionPart, span: Span, rows: _Rows, ended_us: int | None) -> SessionPart:
    """Return what a part tells of the messages of ``span`` alone, of which there are these rows."""
    return replace(
        part,
        first_message=rows.first_message,
        last_message=span.last,
        rows=rows.count,
        first_us=rows.first_us,
        last_us=rows.last_us,
        ended_us=ended_us,
    )


def _as_parts(rows: pa.Table) -> Iterator[SessionPart]:
    names = ("first_received", "last_received", "ended", "seen")
    moments = [rows[name].cast(pa.int64()).to_pylist() for name in names]
    others = [rows[name].to_pylist() for name in ("pair", "session", "first_message", "last_message", "rows")]
    for values in zip(*others, *moments, strict=True):
        yield SessionPart(*values)
