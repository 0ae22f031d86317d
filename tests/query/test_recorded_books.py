"""Questions about recorded books that have no answer, and what is said then."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import duckdb
import pytest

from recorder.errors import UsageError
from recorder.query.connect import Archive, connect
from tests.archives import Ask, Written, small_book, writing


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    data = tmp_path_factory.mktemp("small") / "data"
    with writing(data) as archive:
        archive.booked(small_book())
    with connect(data) as opened:
        yield opened


def test_a_pair_without_a_recorded_book_is_an_error_in_any_client(archive: Written, ask: Ask) -> None:
    archive.booked(small_book())
    for question in (
        "book_at('SOL/USD', '2025-11-11')",
        "book_levels('SOL/USD', [utc_moment('2025-11-11')], 'time')",
        "book_snapshots('SOL/USD', '2025-11-10', '2025-11-11', '1 hour')",
        "depth_bars('SOL/USD', '2025-11-10', '2025-11-11', '1 hour')",
        "book_slippage('SOL/USD', '2025-11-11', 'buy', 1)",
    ):
        with pytest.raises(duckdb.Error, match=r"the archive holds no book of 'SOL/USD': books\.pairs"):
            ask(f"FROM {question}")
    assert ask("FROM book_at('BTC/USD', '2025-11-09')") == []


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (lambda opened: opened.book_at("SOL/USD", "2025-11-11"), "the archive holds no book of 'SOL/USD'; it holds"),
        (lambda opened: opened.book("BTC/US"), r"no book of 'BTC/US'; did you mean BTC/USD\?"),
        (lambda opened: opened.depth_bars("SOL/USD", "2025-11-10", "2025-11-11", "1h"), "no book of 'SOL/USD'"),
        (lambda opened: opened.book_at("BTC/USD", None), "a book is of a moment"),
        (lambda opened: opened.book_at("BTC/USD", "2025-11-11", depth=0), "depth is the number of levels"),
        (lambda opened: opened.book_at("BTC/USD", "2025-11-11", by="dice"), "there is no clock 'dice'"),
        (lambda opened: opened.book_snapshots("BTC/USD", None, "2025-11-11", "1h"), "needs both start and stop"),
        (lambda opened: opened.book_slippage("BTC/USD", "2025-11-11", "short", 1), "there is no side 'short'"),
        (lambda opened: opened.depth_bars("BTC/USD", "2025-11-10", "2025-11-11", "1h", basis_points=0), "basis_points"),
    ],
)
def test_what_cannot_be_answered_is_said(small: Archive, question: Callable[[Archive], object], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        question(small)
