"""The names of pairs by which history files are called: those that the archive's listings and the exchange's have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from recorder.archive.datasets import INSTRUMENTS, Branch
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.core.model import Instrument
from recorder.disk import undisturbed


@dataclass(frozen=True, slots=True)
class ListedNames:
    """Pairs by altname, and the altnames of their assets."""

    pairs: Mapping[str, str]
    assets: frozenset[str]

    def joined(self, other: ListedNames) -> ListedNames:
        """Return the names of both; where they differ, those of ``other`` count."""
        return ListedNames({**self.pairs, **other.pairs}, self.assets | other.assets)


def of(instruments: Iterable[Instrument]) -> ListedNames:
    """Return the names of listed pairs."""
    return _of((one.altname, one.wsname, one.pair) for one in instruments)


def archived(layout: Layout) -> ListedNames:
    """Return the names that the archive ever recorded; none if there is no archive. Raises as OpenFile does."""
    if not layout.exists:
        return ListedNames({}, frozenset())
    return undisturbed(lambda: _of(_rows(layout)), "the files of listings")


def _of(rows: Iterable[tuple[str, str, str]]) -> ListedNames:
    pairs, assets = dict[str, str](), set[str]()
    for altname, wsname, pair in rows:
        pairs[altname] = pair
        assets.update(wsname.split("/"))
    return ListedNames(pairs, frozenset(assets))


def _rows(layout: Layout) -> Iterable[tuple[str, str, str]]:
    names = ["altname", "wsname", "pair"]
    for path in layout.files(Branch(INSTRUMENTS)):
        with OpenFile(path) as file:
            rows = file.table(columns=[*names, "valid_from"]).sort_by("valid_from")
            yield from zip(*(rows[name].to_pylist() for name in names), strict=True)
