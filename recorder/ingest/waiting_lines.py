"""Lines of quarantined pairs, archived once the files of their pair can be trusted again."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import structlog

from recorder.archive import quarantine
from recorder.archive.quarantine import Quarantine, QuarantinedRow, Reason
from recorder.archive.trades import TradeArchive
from recorder.core import evidence
from recorder.core.trade_ids import Spans
from recorder.errors import Unstorable
from recorder.ingest.drained_segment import SHOWN_CHARS
from recorder.ingest.renumbered_pairs import quarantined_trades

log = structlog.get_logger()


class WaitingLines:
    """The lines that wait in the quarantine until the files of their pair can be trusted."""

    def __init__(self, trades: TradeArchive, quarantine: Quarantine) -> None:
        self._trades = trades
        self._quarantine = quarantine

    def release(self, pair: str) -> int:
        """Archive the waiting lines of a pair as far as they are not archived yet; the lines stay in the quarantine."""
        stored, added = self._trades.coverage.spans(pair), 0
        renumbered = evidence.renumbered(self._trades.claimed.claims(pair)) is not None
        for part in quarantine.parts(self._trades.layout, pair, Reason.WAITING):
            new = [one for one in part if not all(stored.covers(span) for span in one.spans)]
            if renumbered and new:  # these rows wait until the renumbering is settled
                self._quarantine.add([msgspec.structs.replace(one, reason=Reason.RENUMBERED) for one in new])
            elif new:
                added += self._replay(pair, new)
        if added:
            log.warning("waiting lines archived", pair=pair, rows=added)
        return added

    def _replay(self, pair: str, kept: Sequence[QuarantinedRow]) -> int:
        try:
            added = quarantine.replay(
                kept, self._trades, lambda one: (row for row in quarantined_trades(one) if row.pair == pair)
            )
        except Unstorable as error:
            if len(kept) > 1:
                return sum(self._replay(pair, [one]) for one in kept)
            self._quarantine.add(
                [msgspec.structs.replace(kept[0], reason=Reason.REFUSED, why=str(error)[:SHOWN_CHARS])]
            )
            return 0
        return Spans(added.get(pair, ())).count()
