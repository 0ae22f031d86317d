"""Slow modules that are imported on first use, because most commands do not need them.

``pyarrow.compute`` takes a sixth of the time in which all that a connection needs is imported.
"""

from __future__ import annotations

import importlib
from typing import Any, Final


class Lazy:
    """Stands for a module until something of it is asked for, from any thread.

    >>> Lazy("fractions").Fraction(1, 2)
    Fraction(1, 2)
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:  # noqa: ANN401 -- what a module's names are is up to the module
        found = getattr(importlib.import_module(self._name), attribute)
        setattr(self, attribute, found)
        return found


pc: Final = Lazy("pyarrow.compute")
