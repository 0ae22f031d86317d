"""The ledger as the disk tells it: what the journal claims, then what footers and events say. Nothing else is kept.

In this order, because rows move from the journal to the archive: a row may be met twice, but is never missed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from recorder.archive import stored_evidence
from recorder.archive.coverage import Coverage
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
"""Why nobody knows what the files of a pair hold."""
JOINED_RUNS: Final = 20_000
"""Runs in the journal that are joined before they are counted: each alone would take as long as parsing it."""
READERS: Final = 8
"""Footers are read, and folders synced, of so many pairs at once: on a busy disk each sync waits."""


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What was met in the archive: the rows of each pair, and what could not be read.

    Of a pair in ``damaged`` nothing in the archive counts, and so nobody knows what it holds. ``findings`` are files of
    events; what they told of ids is not known.
    """

    rows: dict[str, int]
    damaged: dict[str, Damage]
    findings: list[Finding]

    def check(self) -> None:
        """Raise CorruptFile, UnreadableFile, UnknownVersion if the files of a pair cannot be trusted, or read."""
        for error in self.damaged.values():
            raise error


def load(
    ledger: Ledger,
    layout: Layout,
    claims: Iterable[Run | Knowledge],
    *,
    coverage: Coverage | None = None,
    pairs: Sequence[str] | None = None,
    told: Callable[[], StoredEvidence] | None = None,
) -> LoadResult:
    """Count in ``ledger`` what the journal claims and what the archive holds and knows, of all pairs or of ``pairs``.

    The journal is read by whoever gives its ``claims``, which are taken first. ``coverage`` is brought up to date.
    ``told`` reads the events, where somebody remembers them.
    Raises DiskError; StorageError if files keep changing as they are read.
    """
    _count(ledger, claims)
    held = Coverage(layout) if coverage is None else coverage

    def observe(pair: str) -> int | Damage:
        try:
            return undisturbed(lambda: held.observe_into(ledger, pair), f"the files of {pair}")
        except DAMAGE as error:
            if isinstance(error, UnreadableFile) and not error.of_itself:  # of which no pair is to blame
                raise
            return error

    archived = layout.pairs() if pairs is None else pairs
    with ThreadPoolExecutor(READERS, "footers") as readers:
        met = dict(zip(archived, readers.map(observe, archived), strict=True))
    events = stored_evidence.read(layout) if told is None else told()
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


def _restate_renumbered(ledger: Ledger, held: Coverage, events: StoredEvidence, sound: frozenset[str]) -> None:
    """Count of pairs that are numbered anew what files hold, where those are ``sound``, and what events tell."""
    renumbered = [pair for pair in ledger if ledger.of(pair).renumbered is not None]
    if renumbered:
        restated = [(pair, _of_files(ledger.of(pair), held, sound=pair in sound)) for pair in renumbered]
        for one in events.knowledge():
            for pair, account in restated:
                if one.pair == pair:
                    account.know(one)
        ledger.restate(account for _, account in restated)


def _of_files(account: PairLedger, held: Coverage, *, sound: bool) -> PairLedger:
    """Return what files hold of a pair that is numbered anew: what is journalled of it will be set aside."""
    found = PairLedger(account.pair)
    if sound:
        files = undisturbed(lambda: held.files(account.pair), f"the files of {account.pair}")
        for run in (run for file in files for run in file.footer.runs):
            found.observe(run)
    for promised in account.promised:  # which may be in the journal still
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
