"""docs/architecture.md names places in the code: each must exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
PLACES = re.findall(r"`([\w/]+\.(?:py|sql)):([\w.]+)`", TEXT)
ROOMS = re.findall(r"^\| `(\w+)/` \|", TEXT, re.MULTILINE)
BOXES = re.findall(r"\[([\w/]+\.(?:py|sql))\]", TEXT)


def has(tree: ast.AST, symbol: str) -> bool:
    """Return whether a module has this name at its top, or a class there this member."""
    first, _, rest = symbol.partition(".")
    for node in ast.iter_child_nodes(tree):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        named = getattr(node, "name", None) or next((one.id for one in targets if isinstance(one, ast.Name)), None)
        if named == first:
            return not rest or has(node, rest)
    return False


@pytest.mark.parametrize(("path", "symbol"), PLACES)
def test_each_answer_exists(path: str, symbol: str) -> None:
    text = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"(VIEW|MACRO) {symbol}\b", text) if path.endswith(".sql") else has(ast.parse(text), symbol)


def test_ten_questions_are_answered() -> None:
    assert len(re.findall(r"^\| [^|]+\? \|", TEXT, re.MULTILINE)) == 10


def test_every_room_is_drawn_and_every_box_is_a_file() -> None:
    assert set(ROOMS) == {path.parent.name for path in (ROOT / "recorder").glob("*/__init__.py")}
    assert [box for box in BOXES if not ((ROOT / "recorder" / box).is_file() or (ROOT / box).is_file())] == []
