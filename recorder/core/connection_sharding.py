"""Which line a pair is on: one that stays keeps its own, whatever comes and goes beside it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def assign_connections(lines: Sequence[Collection[str]], pairs: Iterable[str], *, bound: int) -> list[list[str]]:
    """Put each of ``pairs`` on one line, at most ``bound`` (one or more) on each.

    ``lines`` are the pairs of the lines there are, each on one of them. The shares come in this order, an empty one
    for a line that is not needed any more, and then those of new lines, which there are only where the others lack
    room. New pairs go where the fewest are. Nothing moves, so lines that many pairs have left stay as they are.
    """
    coming = dict.fromkeys(pairs)
    shares = [[pair for pair in line if pair in coming] for line in lines]
    for share in shares:
        for pair in share:
            del coming[pair]
    used = [share for share in shares if share]
    lacking = len(coming) - sum(max(0, bound - len(share)) for share in used)
    needed = -(-max(0, lacking) // bound)
    reused = [share for share in shares if not share][:needed]
    new: list[list[str]] = [[] for _ in range(needed - len(reused))]
    for pair in coming:
        min([*used, *reused, *new], key=len).append(pair)
    return [*shares, *new]
