"""Journal lines of books, as a recorder writes them."""

from __future__ import annotations

from collections.abc import Iterator

from recorder.journal import segment
from recorder.kraken import records
from recorder.kraken.book_session import BookLine, BooksEnded


def encoded(effects: Iterator[object] | list[object]) -> Iterator[bytes]:
    """Yield the journal lines of a session's effects."""
    for effect in effects:
        if isinstance(effect, BookLine):
            at = effect.place
            source = records.checkpoint_source(at) if effect.is_checkpoint else records.book_source(1, at)
            yield segment.encode(effect.received_ns, source, effect.payload)
        elif isinstance(effect, BooksEnded):
            ends = records.encode_book_ends(effect.ends)
            yield segment.encode(max(end.until_ns for end in effect.ends), "ended:book:1", ends)
