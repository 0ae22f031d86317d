"""The release, kept apart so that naming it imports nothing else."""

from __future__ import annotations

__version__ = "0.1.0"
