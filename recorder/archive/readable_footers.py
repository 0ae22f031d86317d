"""The footers of whole tables, as far as they can be read: for what must not fail because of one file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from recorder.archive.datasets import Dataset
from recorder.archive.footer import Footer
from recorder.archive.layout import Layout
from recorder.archive.parquet import SET_APART, read_facts


def readable_footers(layout: Layout, datasets: Iterable[Dataset]) -> Iterator[Footer]:
    """Yield the footers of all files of these tables, without files and folders that are gone or cannot be read."""
    for dataset in datasets:
        with contextlib.suppress(*SET_APART):
            for branch in layout.branches(dataset):
                with contextlib.suppress(*SET_APART, FileNotFoundError):
                    for path in layout.files(branch):
                        with contextlib.suppress(*SET_APART, FileNotFoundError):
                            yield read_facts(path).footer
