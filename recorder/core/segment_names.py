"""The full name of a journal segment: which archive journalled it, its journal there, and its number in that journal.

A number alone names nothing: each journal of each archive counts from 1. Files of tables without ids say in their
footers which segments their rows came from, and a drain adds nothing that one of them names.
"""

from __future__ import annotations

from typing import Final, NamedTuple

MAIN_JOURNAL: Final = "journal"
"""The folder, and so the name, of the journal that trades are recorded in. Others are called ``journal_<purpose>``."""
_RAW: Final = "raw"


class SegmentName(NamedTuple):
    """The name of a segment; ``archive`` is an archive's id, ``journal`` the name of its folder there.

    Without an id it is a segment of the archive that it lies in, from a release that wrote no ids: then only the number
    stands in its first line and in footers, and the journal is the main one.
    """

    archive: str
    journal: str
    number: int

    def __str__(self) -> str:
        return "/".join(filter(None, (self.archive, self.journal, str(self.number))))


def raw_folder(journal: str) -> str:
    """Return the name of the folder for retired segments of a journal.

    >>> raw_folder("journal"), raw_folder("journal_market")
    ('raw', 'raw_market')
    """
    return _RAW + journal.removeprefix(MAIN_JOURNAL)


def journal_of(raw: str) -> str:
    """Return the journal whose retired segments lie in the folder of this name.

    >>> journal_of("raw"), journal_of("raw_market")
    ('journal', 'journal_market')
    """
    return MAIN_JOURNAL + raw.removeprefix(_RAW)
