"""Which hole is fetched next."""

from __future__ import annotations

from collections.abc import Iterable

from recorder.core.ledger import Hole


def newest_first(holes: Iterable[Hole]) -> list[Hole]:
    """Order holes for repair: the newest first, because recent rows are what users look at soonest."""
    return sorted(holes, key=lambda hole: hole.before_us, reverse=True)
