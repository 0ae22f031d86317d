"""The pairs to which a statement over views of all pairs is confined, so that only their files are listed.

Passing DuckDB thousands of file names, most of which it then prunes, takes longer than reading the files that remain.
Pure: derived from the parse tree, and limited to what can be proven. A pair counts if each use of these views stands
alone after a FROM whose WHERE requires ``pair = 'A/B'``, or ``pair IN (…)``, whatever else it requires: a join may
select rows before its WHERE does. ``$pair IS NULL OR pair = $pair`` requires a pair that is given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeAlias

VIEWS: Final = frozenset({"trades", "coverage", "gaps", "certificates"})
"""Views of all pairs in which the rows of a pair depend on no trades but its own."""
_COLUMN: Final = "pair"

_Node: TypeAlias = Mapping[str, Any]


def pairs(tree: str, params: Mapping[str, object]) -> frozenset[str]:
    """Return the pairs to which a statement is confined, by DuckDB's tree of it; none if it is not confined.

    >>> import duckdb
    >>> tree = duckdb.execute("SELECT json_serialize_sql('FROM trades WHERE pair = $p AND price > 5')").fetchone()[0]
    >>> sorted(pairs(tree, {"p": "BTC/USD"}))
    ['BTC/USD']
    """
    try:
        left: list[object] = [json.loads(tree)]
    except RecursionError:
        return frozenset()
    found: set[str] = set()
    while left:
        node = left.pop()
        if isinstance(node, list):
            left.extend(node)
        elif isinstance(node, dict):
            if _is_view(node):  # not alone after a FROM
                return frozenset()
            table = node.get("from_table")
            if isinstance(table, dict) and node.get("type") == "SELECT_NODE" and _is_view(table):
                wanted = _required(node, str(table["alias"] or _name(table)), params)
                if wanted is None or table["column_name_alias"]:
                    return frozenset()
                found |= wanted
                left.extend(part for name, part in node.items() if name != "from_table")
            else:
                left.extend(node.values())
    return frozenset(found)


def _is_view(node: Any) -> bool:  # noqa: ANN401 -- JSON
    return isinstance(node, dict) and _name(node) in VIEWS


def _name(table: _Node) -> str:
    return str(table.get("table_name", "")).strip('"').lower()


def _required(select: _Node, alias: str, params: Mapping[str, object]) -> set[str] | None:
    """Return the pairs that rows must have to pass the WHERE; None if they may have any."""
    for clause in _clauses(select["where_clause"], params):
        match clause["type"]:
            case "COMPARE_EQUAL":
                sides = [clause["left"], clause["right"]]
            case "COMPARE_IN":
                sides = clause["children"]
            case _:
                continue
        values = [_value(side, params) for side in sides if not _is_pair(side, alias)]
        if len(values) == len(sides) - 1 and None not in values:
            return {value for value in values if value is not None}
    return None


def _clauses(where: _Node | None, params: Mapping[str, object]) -> Iterator[_Node]:
    """Yield the conditions that must all be true."""
    if where is None:
        return
    parts = where.get("children", ())
    if where["type"] == "CONJUNCTION_OR":
        parts = [part for part in parts if not _is_given(part, params)]
        if len(parts) > 1:
            return
    elif where["type"] != "CONJUNCTION_AND":
        yield where
        return
    for part in parts:
        yield from _clauses(part, params)


def _is_given(node: _Node, params: Mapping[str, object]) -> bool:
    """Return whether a condition is ``$name IS NULL`` of a parameter that is not."""
    if node["type"] != "OPERATOR_IS_NULL":
        return False
    (operand,) = node["children"]
    return operand["type"] == "VALUE_PARAMETER" and params.get(str(operand["identifier"])) is not None


def _is_pair(node: _Node, alias: str) -> bool:
    names = [name.lower() for name in node.get("column_names", ())]
    return names in ([_COLUMN], [alias.lower(), _COLUMN])


def _value(node: _Node, params: Mapping[str, object]) -> str | None:
    """Return the text that a part of the tree represents, if it is one."""
    literal = node.get("literal")
    if node["type"] == "VALUE_CONSTANT" and isinstance(literal, dict) and literal.get("kind") == "STRING":
        return str(literal["text"])
    value = params.get(str(node.get("identifier"))) if node["type"] == "VALUE_PARAMETER" else None
    return value if isinstance(value, str) else None
