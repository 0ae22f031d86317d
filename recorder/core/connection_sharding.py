"""Assignment of pairs to connections: a pair stays on its connection, whatever pairs are added or removed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def assign_connections(lines: Sequence[Collection[str]], pairs: Iterable[str], *, bound: int) -> list[list[str]]:
    """Assign each of ``pairs`` to one connection, at most ``bound`` (one or more) to each.

    ``lines`` are the pairs of the existing connections, each pair on one of them. The result has one list for each of
    them, in this order, empty if the connection is no longer needed, then lists for new connections, which are opened
    only if the others have no room. A new pair goes to the connection with the fewest pairs. No pair moves, so a
    connection that many pairs have left stays small.
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
