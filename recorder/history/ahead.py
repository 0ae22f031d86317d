"""Items that another thread makes while the one before is used: inflating, parsing and storing share the cores."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Iterator[_Item]:
    """Yield items; a thread gets the next one meanwhile, and what it raises is raised here in its turn."""
    with ThreadPoolExecutor(1, "history") as thread:
        coming = thread.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield item
