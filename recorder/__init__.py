"""Record Kraken's public trades into plain Parquet: complete, exact and provable."""

from __future__ import annotations

__version__ = "0.1.0"
