"""What no linter holds: who may import whom among the tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent


def test_no_test_module_imports_from_another() -> None:
    importing = {
        (path.relative_to(TESTS).as_posix(), node.module)
        for path in TESTS.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and re.fullmatch(r"tests\.(\w+\.)*test_\w+", node.module or "")
    }
    assert importing == set(), "what tests share stands in a module that is none"
