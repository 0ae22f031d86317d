"""What lies between imported trades and others: history, until the owner of the archive joins them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recorder.archive import disown, load_ledger
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.evidence import Joined
from recorder.core.ledger import Ledger
from recorder.journal import live_read
from recorder.kraken import records


def read(archive: TradeArchive, pairs: Sequence[str]) -> Ledger:
    """Return the ledger of ``pairs``, journal included, without those whose files cannot be trusted.

    :meth:`PairLedger.history_gaps` are the ids between imported trades and others. Raises DiskError, StorageError.
    """
    ledger = Ledger()
    claims = records.claims(live_read.entries(archive.layout.journal))
    load_ledger.load(ledger, archive.layout, claims, coverage=archive.coverage, pairs=pairs)
    return ledger


def join(archive: TradeArchive, ledger: Ledger, first_ids: Mapping[str, int], now_us: int) -> dict[str, int]:
    """Make what is missing above the first imported id of each pair gaps, which a recorder fetches; durable.

    Returns how many ids that are, by pair. ``now_us`` is in µs since 1970 UTC. The ledger learns of it, too. Raises
    DiskError.
    """
    became: dict[str, int] = {}
    noted: list[Joined] = []
    for pair, first_id in first_ids.items():
        account, after_id = ledger.of(pair), first_id - 1
        before = sum(len(gap.span) for gap in account.history_gaps())
        if account.joined_after is None or after_id < account.joined_after:
            claim = Joined(pair, after_id, evidence.after_us(account.disownings, now_us))
            noted.append(claim)
            ledger.know(claim)
        became[pair] = before - sum(len(gap.span) for gap in account.history_gaps())
    disown.note(archive, noted, now_us=now_us)
    return became
