"""The release, kept apart so that naming it imports nothing else."""

from __future__ import annotations

from typing import Final

__version__: Final = "0.1.0"
