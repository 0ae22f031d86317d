"""Resolution of pair names on the command line, by the listing in the archive."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recorder.archive.layout import Layout
from recorder.cli.screen import echo
from recorder.query import arguments, pair_aliases


def stored_pairs(names: Sequence[str], there: Collection[str], layout: Layout) -> list[str]:
    """Return the pairs of these names, each once, and print which were taken for other names.

    Raise UsageError for a name that means none of the pairs that are ``there``, or several.
    """
    found = pair_aliases.resolve(names, there, layout)
    pairs = [arguments.pair(pair, there) for pair in found.values()]
    if (warning := pair_aliases.sentence(found)) is not None:
        echo(f"recorder: {warning}", err=True)
    return list(dict.fromkeys(pairs))
