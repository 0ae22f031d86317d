"""Exports rows of an archive for one tool into a new folder, and describes them in a sidecar."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from recorder.disk import Disk
from recorder.exports.folder import NewFolder
from recorder.exports.request import Request, Series, Target, chosen_kinds
from recorder.exports.rows import Rows, nothing
from recorder.query.connect import Archive
from recorder.version import __version__

SIDECAR: Final = "recorder-export.json"
ROUNDED: Final = "prices and quantities are rounded to the nearest doubles"
EXACT: Final = "prices and quantities are exact"


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written: the series, and the number of files."""

    series: Sequence[Series]
    files: int


def export(
    archive: Archive,
    data: Path,
    target: Target,
    request: Request,
    folder: Path,
    *,
    progress: Callable[[Series], None] = lambda _: None,
) -> Exported:
    """Write what is requested of the archive at ``data`` for a tool into ``folder``, which must be new or empty.

    ``archive`` keeps one snapshot (``connect(frozen=True)``). Nothing is left in ``folder`` unless all is. Raises
    UsageError, GapError, DiskError.
    """
    kinds = chosen_kinds(target, request)
    target.check(request)
    rows = Rows(archive, request, kinds, from_book=target.needs_book)
    with NewFolder(folder, data, Disk()) as new:
        rows.check()
        series = []
        for one in target.write(rows, new):
            progress(one)
            series.append(one)
        if not any(one.rows for one in series):
            raise nothing(request)
        new.adopt()
        files = len(new.files)
        with new.file(SIDECAR) as file:
            file.write(
                json.dumps(_sidecar(target, request, series, new), indent=2, ensure_ascii=False).encode() + b"\n"
            )
        new.finish()
    return Exported(series, files)


def _sidecar(target: Target, request: Request, series: Sequence[Series], folder: NewFolder) -> dict[str, Any]:
    return {
        "writer": f"kraken-recorder {__version__}",
        "tool": target.name,
        "layout": target.layout,
        "values": EXACT if target.is_exact else ROUNDED,
        "pairs": list(request.pairs),
        "range": {"from": request.start, "to": request.stop},
        "on_gap": request.on_gap,
        "series": [
            {"pair": one.pair, "kind": str(one.kind)}
            | ({"timeframe": one.timeframe} if one.timeframe else {})
            | {"rows": one.rows, "complete": one.is_complete, **one.facts}
            for one in series
        ],
        "files": [
            {"name": name, "bytes": facts.size, "sha256": facts.sha256} for name, facts in sorted(folder.files.items())
        ],
    }
