"""Journal lines of books: each stands by itself, and the head of a segment is the book of every session that runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from recorder.collectors import book_feed
from recorder.collectors.book_feed import BookFeed
from recorder.disk import Disk
from recorder.ingest.commit import Commit
from recorder.ingest.parked_ids import ParkedIds
from recorder.journal import segment
from recorder.journal.journal import Journal
from recorder.kraken.book import Digits
from recorder.kraken.book_lines import BookEnd
from recorder.kraken.channels import BOOKS
from tests.clocks import ManualClock
from tests.fakes import Fakes
from tests.kraken.book_captures import PAIR, checksum_of, frame

BIDS, ASKS = [("99.0", "1.00")], [("101.0", "1.00")]
SNAPSHOT = frame(BIDS, ASKS, kind="snapshot")


def feed_of(clock: ManualClock) -> BookFeed:
    channel = replace(BOOKS, params={"depth": 10})
    return BookFeed(clock, channel, depth=10, digits=lambda _: Digits(1, 2))


def sources(path: Path) -> list[str]:
    return [entry.source for entry in segment.entries(path) if isinstance(entry, segment.Entry)]


async def test_a_segment_begins_with_the_state_after_all_lines_of_the_one_before(tmp_path: Path) -> None:
    fakes = Fakes()
    feed = feed_of(fakes.clock)
    journal = Journal(tmp_path, Disk(), staging=tmp_path, now_ns=1, journal="journal_books")
    commit = Commit(
        journal,
        fakes.ledger,
        fakes.context,
        sync_every_s=0.1,
        hole_seen=lambda: None,
        parking=ParkedIds(fakes.ledger, lambda _: []),
        heads=feed.heads,
    )
    session = feed.session([PAIR])
    session.opened(0.0)
    now_ns = fakes.clock.wall_ns()
    (began,) = session.receive(SNAPSHOT, 0.0, received_ns=now_ns)
    fakes.inbox.add(feed.line(began, 4))  # type: ignore[arg-type]
    await commit.flush()
    bids = [("100.0", "2.00"), *BIDS]
    (changed,) = session.receive(frame([bids[0]], checksum=checksum_of(bids, ASKS)), 0.0, received_ns=now_ns + 1)
    fakes.inbox.add(feed.line(changed, 4))  # type: ignore[arg-type]
    await commit.rotate()  # with a line that still waits
    journal.close()
    first, second = segment.segments(tmp_path / "journal_books")
    name = f"BTC%2FUSD={now_ns}"
    assert sources(first) == ["note", f"ws:book:4?{name}.0&depth=10&digits=1.2", f"ws:book:4?{name}.1"]
    assert sources(second) == ["note", f"checkpoint:book?{name}.2&depth=10&digits=1.2"]
    written = list(segment.entries(second))[-1]
    assert isinstance(written, segment.Entry)
    assert b'"bids":[{"price":100.0,"qty":2.00},{"price":99.0,"qty":1.00}]' in written.payload
    assert book_feed.left_unended([first, second]) == [BookEnd(PAIR, now_ns, 3, written.recv_ns, "killed")]
    (ended,) = session.closed()
    assert feed.heads() == [], "no session runs any more"
    line = feed.line(ended, 4)  # type: ignore[arg-type]
    with second.open("ab") as file:
        file.write(line.line)
    assert book_feed.left_unended([first, second]) == []
