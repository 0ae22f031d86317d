"""What a merge brings of market data that is numbered by sessions: each message once, and sessions that tell of it.

Sessions of two recorders are different ones, and come as they are. The same session is in two archives only if one
began as a copy of the other, or was restored from it. Then a row is one that is stored here by its session and message,
but rows of `quote_sessions` and `book_sessions` are one for each drained segment, and an open segment that was copied
was drained twice, cut in two places. So what a row tells of messages that are counted here is taken out of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final, Protocol, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
from msgspec.structs import replace

from recorder.archive.datasets import BOOK, BOOK_SESSIONS, QUOTE_SESSIONS, QUOTES, Branch, Dataset
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.core.model import BookPart, SessionPart
from recorder.core.trade_ids import Span, Spans
from recorder.disk import undisturbed

Counted: TypeAlias = Mapping[tuple[str, int], Spans]
"""Messages by pair and session."""

_BATCH: Final = 32_768
_KEY: Final = ["pair", "session"]


Part: TypeAlias = SessionPart | BookPart
"""A row of a table of sessions."""


class _Cut(Protocol):
    def __call__(self, part: Any, span: Span, rows: pa.Table, /, *, ends: bool) -> Part:  # noqa: ANN401 -- one of Part
        """Return what a part tells of the messages of ``span`` alone, of which there are these rows.

        ``ends`` is whether it tells of the end of its session, too.
        """
        ...


@dataclass(frozen=True, slots=True)
class Numbered:
    """A table whose rows are numbered within sessions, the table of these sessions, and how a part of one is cut.

    ``proof`` are the columns, beside session, message and stamp, that tell what a part has of its messages.
    """

    rows: Dataset
    sessions: Dataset
    part: type[Part]
    cut: _Cut
    proof: tuple[str, ...] = ()


def _cut_quotes(part: SessionPart, span: Span, rows: pa.Table, *, ends: bool) -> SessionPart:
    return replace(
        part,
        first_message=pc.min(rows["message"]).as_py(),
        last_message=span.last,
        rows=rows.num_rows,
        first_us=pc.min(rows["received"]).as_py(),
        last_us=pc.max(rows["received"]).as_py(),
        ended_us=part.ended_us if ends else None,
    )


def _cut_books(part: BookPart, span: Span, rows: pa.Table, *, ends: bool) -> BookPart:
    of_mismatch = pc.and_(pc.equal(rows["message"], part.last_message), bool(part.mismatches))
    messages, mismatches = pc.count_distinct(rows["message"]).as_py(), int(bool(pc.any(of_mismatch).as_py()))
    proven = rows.filter(pc.invert(pc.or_(of_mismatch, pc.equal(rows["kind"], "checkpoint"))))
    return replace(
        part,
        first_message=pc.min(rows["message"]).as_py(),
        last_message=span.last,
        messages=messages,
        verified=messages - mismatches,
        mismatches=mismatches,
        first_us=pc.min(rows["received"]).as_py(),
        last_us=pc.max(proven["received"]).as_py(),
        ended_us=part.ended_us if ends else None,
        end=part.end if ends else None,
    )


OF_QUOTES: Final = Numbered(QUOTES, QUOTE_SESSIONS, SessionPart, _cut_quotes)
OF_BOOKS: Final = Numbered(BOOK, BOOK_SESSIONS, BookPart, _cut_books, proof=("kind",))
NUMBERED: Final = (OF_QUOTES, OF_BOOKS)


class SessionMerge:
    """Filters for :func:`merge_archive.rows_of`: of the rows of another archive, and of its sessions.

    ``journalled`` are messages in our own journal, which the drain will bring.
    """

    def __init__(self, tables: Numbered, ours: Layout, theirs: Layout, journalled: Counted) -> None:
        self._tables = tables
        self._sessions = tables.sessions
        self._ours = ours
        self._theirs = theirs
        self._journalled = journalled

    def not_journalled(self, branch: Branch, rows: pa.Table) -> pa.Table:
        """Return the rows that are not in our journal."""
        for session in pc.unique(rows["session"]).to_pylist():
            for span in self._journalled.get((str(branch.pair), session), ()):
                rows = rows.filter(pc.invert(_within(rows, session, span)))
        return rows

    def not_counted(self, _: Branch, parts: pa.Table) -> pa.Table:
        """Return what parts of sessions tell of messages that none of ours does, nor will."""
        known = pa.concat_tables([self._known, _keys(self._journalled)], promote_options="permissive")
        shared = parts.join(known, _KEY, join_type="left semi").select(parts.column_names)
        if not shared.num_rows:
            return parts
        counted = undisturbed(lambda: self._counted(shared), self._files)
        left = [rest for part in self._as_parts(shared) for rest in self._left(part, counted)]
        others = parts.join(known, _KEY, join_type="left anti").select(parts.column_names)
        return pa.concat_tables([others.cast(parts.schema), self._sessions.build(left)])

    def _left(self, part: Part, counted: Counted) -> Iterator[Part]:
        """Yield what a part tells of messages that are not ``counted``, and of the end of its session."""
        span_of_part = None if part.first_message is None else Span(part.first_message, part.last_message)
        left = [] if span_of_part is None else counted.get((part.pair, part.session), Spans()).missing(span_of_part)
        if span_of_part is None or left == [span_of_part]:
            yield part
            return
        for span in left:
            of_span = undisturbed(partial(self._found, part, span), f"the files of {part.pair}")
            yield self._tables.cut(part, span, of_span, ends=span.last == span_of_part.last)
        if part.ended_us is not None and (not left or left[-1].last != span_of_part.last):
            yield self._tables.cut(part, span_of_part, self._looked_at.empty_table(), ends=True)

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

    @property
    def _looked_at(self) -> pa.Schema:
        """The columns of rows that a part is cut by; times as integers."""
        columns, stamp = self._tables.rows.columns, str(self._tables.rows.stamp)
        others = [columns.field(name) for name in ("session", "message", *self._tables.proof)]
        return pa.schema([*others, pa.field(stamp, pa.int64())])

    def _found(self, part: Part, span: Span) -> pa.Table:
        """Look up the rows of these messages in the other archive; they are a segment's at most."""
        columns = self._looked_at
        found = [columns.empty_table()]
        for path in self._theirs.files(Branch(self._tables.rows, part.pair)):
            with OpenFile(path) as file:
                groups = [group for group in file.groups if _may_have(file, group, part.session)]
                for rows in file.read(_BATCH, groups=groups, columns=columns.names):
                    of_span = rows.filter(_within(rows, part.session, span))
                    found.append(of_span.select(columns.names).cast(columns))
        return pa.concat_tables(found)

    def _as_parts(self, rows: pa.Table) -> Iterator[Part]:
        columns = [
            column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column
            for column in rows.select(self._sessions.columns.names).columns
        ]
        for values in zip(*(column.to_pylist() for column in columns), strict=True):
            yield self._tables.part(*values)


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
