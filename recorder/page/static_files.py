"""The script, the style sheets and the vendored library: each has a fixed name, and a digest for browsers' caches."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Final

FOLDER: Final = "/static/"
_CHART: Final = ("recorder.chart", "assets")
_PAGE: Final = ("recorder.page", "assets")
_FILES: Final = {
    "page.js": (*_PAGE, "page.js"),
    "page.css": (*_PAGE, "page.css"),
    "openapi.json": (*_PAGE, "openapi.json"),
    "chart.js": (*_CHART, "chart.js"),
    "chart.css": (*_CHART, "chart.css"),
    "candles.js": (*_CHART, "candles.js"),
    "candles.css": (*_CHART, "candles.css"),
    "lightweight-charts.js": (*_CHART, "lightweight-charts/lightweight-charts.standalone.production.js"),
    "lightweight-charts.LICENSE": (*_CHART, "lightweight-charts/LICENSE"),
    "lightweight-charts.NOTICE": (*_CHART, "lightweight-charts/NOTICE"),
}
_TYPES: Final = {"js": "text/javascript", "css": "text/css", "json": "application/json"}


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file as it is served: its content, type, and tag."""

    content: bytes
    content_type: str
    etag: str


@functools.cache
def static_file(name: str) -> StaticFile | None:
    """Return the file of this name; None if there is none."""
    if name not in _FILES:
        return None
    package, folder, path = _FILES[name]
    content = (resources.files(package) / folder).joinpath(*path.split("/")).read_bytes()
    kind = _TYPES.get(name.rpartition(".")[2], "text/plain")
    return StaticFile(content, kind, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
