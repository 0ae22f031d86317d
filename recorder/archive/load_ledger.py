"""Loading the ledger from disk: first the journal's claims, then footers and events. There is no other state.

In this order because rows move from the journal to the archive: a row may be seen twice, but is never missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from recorder.archive import stored_evidence
from recorder.archive.coverage import Coverage
from recorder.archive.footer import imported_spans
from recorder.archive.integrity import Finding
from recorder.archive.layout import Layout
from recorder.archive.stored_evidence import StoredEvidence
from recorder.core.evidence import Knowledge
from recorder.core.ledger import Ledger, PairLedger
from recorder.core.trade_ids import Run
from recorder.disk import undisturbed
from recorder.errors import CorruptFile, UnknownVersion, UnreadableFile

Damage: TypeAlias = CorruptFile | UnreadableFile | UnknownVersion
DAMAGE: Final = (CorruptFile, UnreadableFile, UnknownVersion)
"""Errors that leave the content of a pair's files unknown."""
JOINED_RUNS: Final = 20_000
"""Runs of the journal that are joined before they are counted: one by one takes as long as parsing them."""
READERS: Final = 8
"""Pairs whose footers are read and whose folders are synced in parallel: on a busy disk each sync waits."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was read from the archive: the number of rows of each pair, and the faults.

    For a pair in ``damaged`` nothing in the archive counts, so its stored ids are unknown. ``findings`` are files of
    events; their evidence about ids is unknown.
    """

    rows: dict[str, int]
    damaged: dict[str, Damage]
    findings: list[Finding]

    def check(self) -> None:
        """Raise CorruptFile, UnreadableFile or UnknownVersion if the files of a pair cannot be trusted or read."""
        for error in self.damaged.values():
            raise error


def load(
    ledger: Ledger,
    layout: Layout,
    claims: Iterable[Run | Knowledge],
    *,
    coverage: Coverage | None = None,
    pairs: Sequence[str] | None = None,
    read_evidence: Callable[[], StoredEvidence] | None = None,
) -> LoadResult:
    """Count the journal's claims and the archive's content and evidence in ``ledger``, for all pairs or for ``pairs``.

    The caller reads the journal and passes its ``claims``, which are consumed first. ``coverage`` is brought up to
    date. ``read_evidence`` reads the events, if the caller caches them. Raises DiskError; StorageError if files keep
    changing as they are read.
    """
    _count(ledger, claims)
    held = Coverage(layout) if coverage is None else coverage

    def observe(pair: str) -> int | Damage:
        try:
            return undisturbed(lambda: held.observe_into(ledger, pair), f"the files of {pair}")
        except DAMAGE as error:
            if isinstance(error, UnreadableFile) and not error.of_itself:  # the fault of no single pair
                raise
            return error

    archived = layout.pairs() if pairs is None else pairs
    with ThreadPoolExecutor(READERS, "footers") as readers:
        met = dict(zip(archived, readers.map(observe, archived), strict=True))
    events = stored_evidence.read(layout) if read_evidence is None else read_evidence()
    wanted = None if pairs is None else {*pairs, *ledger}
    for one in events.knowledge():
        if wanted is None or one.pair in wanted:
            ledger.know(one)
    for pair, memory in events.memories.items():
        if wanted is None or pair in wanted:
            ledger.of(pair).remember(memory)
    _restate_renumbered(ledger, held, events, frozenset(pair for pair, rows in met.items() if isinstance(rows, int)))
    return LoadResult(
        {pair: rows for pair, rows in met.items() if isinstance(rows, int)},
        {pair: error for pair, error in met.items() if not isinstance(error, int)},
        events.findings,
    )


def _restate_renumbered(ledger: Ledger, held: Coverage, events: StoredEvidence, readable: frozenset[str]) -> None:
    """Count renumbered pairs anew from their files, if those are ``readable``, and from events."""
    renumbered = [pair for pair in ledger if ledger.of(pair).renumbered is not None]
    if renumbered:
        restated = [(pair, _of_files(ledger.of(pair), held, readable=pair in readable)) for pair in renumbered]
        for one in events.knowledge():
            for pair, account in restated:
                if one.pair == pair:
                    account.know(one)
        ledger.restate(account for _, account in restated)


def _of_files(account: PairLedger, held: Coverage, *, readable: bool) -> PairLedger:
    """Return the ledger of a renumbered pair from its files: its journalled rows will be quarantined."""
    found = PairLedger(account.pair)
    if readable:
        files = undisturbed(lambda: held.files(account.pair), f"the files of {account.pair}")
        for run in (run for file in files for run in file.footer.runs):
            found.observe(run)
        found.observe_imported(imported_spans(file.footer for file in files))
    for promised in account.promised:  # may still be in the journal only
        found.know(promised)
    return found


def _count(ledger: Ledger, claims: Iterable[Run | Knowledge]) -> None:
    runs: list[Run] = []
    for claim in claims:
        if isinstance(claim, Run):
            runs.append(claim)
            if len(runs) >= JOINED_RUNS:
                ledger.observe_all(runs)
                runs = []
        else:
            ledger.know(claim)
    ledger.observe_all(runs)
