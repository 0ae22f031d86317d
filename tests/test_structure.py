"""What no linter holds: who may import whom among the tests."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
IMPORTED = re.compile(r"^\s*(?:from|import)\s+(tests\.(?:\w+\.)*test_\w+)", re.MULTILINE)


def test_no_test_module_imports_from_another() -> None:
    importing = {
        (path.relative_to(TESTS).as_posix(), found)
        for path in TESTS.rglob("*.py")
        for found in IMPORTED.findall(path.read_text(encoding="utf-8"))
    }
    assert importing == set(), "what tests share stands in a module that is none"
