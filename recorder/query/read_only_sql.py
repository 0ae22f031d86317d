"""The check that a user's SQL only reads. It examines the statement, since no setting of DuckDB guarantees it.

DuckDB's COPY writes through ``allowed_directories``, read-only databases and read-only transactions, inside a common
table expression, and under EXPLAIN ANALYZE. So every statement of a user is parsed before it runs, and refused unless
it is known to only read.

Does not cover this package's own SQL, which creates views and fills tables in memory.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Final, NoReturn

import duckdb

from recorder.errors import UsageError
from recorder.query import catalogue

ALLOWED: Final = "SELECT, FROM, WITH, VALUES, TABLE, PIVOT, UNPIVOT, DESCRIBE, SHOW, SUMMARIZE, or EXPLAIN of one"

_NODES: Final = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""Parts of a parsed query that read. Others are COPY_QUERY_NODE, INSERT_QUERY_NODE and the like."""
# Strings inside the tree have their quotes escaped, so these patterns match nothing within strings.
_NODE: Final = re.compile(r'"type":"(\w+_NODE)"')
_INFO: Final = re.compile(r'"info_type":"')
_TABLE: Final = '"type":"TABLE_FUNCTION"'
_TABLE_FUNCTION: Final = re.compile(r'"function":\{"class":"FUNCTION",[^{}]*?"function_name":"((?:[^"\\]|\\.)*)"')

_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*|\(")
"""ASCII words, as all SQL keywords are. Other characters may be a space to the parser, but a letter to the tokenizer.
"""
_STARTS: Final = frozenset({"select", "from", "with", "values", "table", "pivot", "unpivot"})
"""The first words of queries that only read, for queries without a tree."""
_WRITES: Final = frozenset({"copy", "insert", "update", "delete", "merge", "truncate", "create"})
"""Keywords at least one of which every writing query contains: the parser allows no other statement within one."""

_TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "glob", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "query_table"}
    | {"range", "repeat", "repeat_row", "sniff_csv", "summary", "test_all_types", "test_vector_types", "unnest"}
    | {"which_secret"}
)
"""DuckDB's table functions that read, except those recognised by their prefix."""
_READING: Final = ("read_", "parquet_", "duckdb_", "pragma_")

_OWN: Final = (
    "name part of a question by WITH, read frames and files by their names, "
    "or give a DuckDB of your own the views that `recorder views` prints"
)
_REMEDIES: Final = {
    ("SET", "PRAGMA"): "give threads and memory to connect(), or as --threads and --memory; times are always UTC",
    ("COPY", "EXPORT"): "write rows by `recorder sql -o FILE`, by `recorder export`, or from a frame",
    ("CREATE", "INSERT", "UPDATE", "DELETE", "MERGE", "MERGE INTO", "ATTACH", "LOAD", "PREPARE", "EXECUTE"): _OWN,
}


def check(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Raise UsageError unless ``text`` is one statement that only reads; duckdb.Error if it is no SQL.

    ``connection`` parses it; nothing is run. It takes about a millisecond.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the SQL is not Unicode text: it has half of a surrogate pair") from None
    try:
        kinds = [statement.type.name for statement in connection.extract_statements(text)]
    except ValueError:  # a statement type that DuckDB has no Python name for
        _refuse("this statement")
    if not kinds:
        raise UsageError(f"there is no SQL statement in {text!r}")
    if len(kinds) > 1:
        raise UsageError(f"these are {len(kinds)} SQL statements, and a question is one: ask them one by one")
    (kind,) = kinds
    judge = _JUDGES.get(kind)
    if judge is None:
        _refuse(kind.replace("_", " "))
    judge(connection, text)


def _select(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Check the parsed tree."""
    ((tree,),) = connection.execute("SELECT json_serialize_sql($text)", {"text": text}).fetchall()
    if not tree.startswith('{"error":false'):
        _words(connection, text)
        return
    for node in _NODE.findall(tree):
        if node not in _NODES:
            _refuse(node.removesuffix("_NODE").removesuffix("_QUERY"))
    called = _TABLE_FUNCTION.findall(tree)
    if _INFO.search(tree) or len(called) != tree.count(_TABLE):
        _refuse("this statement")
    for name in called:
        _check_function(name)


def _words(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Check the words, if there is no tree: as for PIVOT, which DuckDB splits into several statements.

    The plan is no alternative: to plan it, even for EXPLAIN, DuckDB runs the first of these statements, COPY included.
    """
    tokens = [token for _, token in _tokens(text)]
    words = [(word, token.startswith('"')) for token in tokens for word in _WORD.findall(token)]
    first = next((word for word, _ in words if word != "("), "")
    if first == "explain":
        _explain(connection, text)
        return
    if first not in _STARTS:
        _refuse(first.upper())
    for (word, quoted), (after, _) in zip(words, [*words[1:], ("", False)], strict=True):
        if word in _WRITES and not quoted:
            _refuse(word.upper(), "; the name of a column stands in double quotes")
        if after == "(":
            _check_function(word)


def _explain(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    """Check the explained statement, wherever it begins: after the word, after ANALYZE or after options."""
    tokens = _tokens(text)
    words = [word for _, word in tokens]
    at = 2 if words[1:2] == ["analyze"] else 1
    begins = sorted({1, at, _after_parentheses(words, at)})
    raw = text.encode()
    explained = [raw[tokens[begin][0] :].decode() for begin in begins if begin < len(tokens)]
    statements = [one for one in explained if _parses(connection, one)]
    if not statements:
        _refuse("this EXPLAIN")
    for statement in statements:
        check(connection, statement)


def _parses(connection: duckdb.DuckDBPyConnection, text: str) -> bool:
    try:
        return bool(connection.extract_statements(text))
    except duckdb.Error:
        return False


def _after_parentheses(words: Sequence[str], at: int) -> int:
    """Return the position after the parentheses that open at ``at``, or ``at`` if there are none."""
    depth = 0
    for place in range(at, len(words)):
        depth += {"(": 1, ")": -1}.get(words[place], 0)
        if not depth:
            return place + 1 if words[at] == "(" else at
    return at


def _tokens(text: str) -> list[tuple[int, str]]:
    """Return words and signs of ``text``, not comments and strings, in lower case, each with its byte offset."""
    raw = text.encode()
    found = duckdb.tokenize(text)
    ends = [place for place, _ in found[1:]] + [len(raw)]
    return [
        (place, raw[place:end].decode().strip().lower())
        for (place, kind), end in zip(found, ends, strict=True)
        if kind not in {duckdb.token_type.comment, duckdb.token_type.string_const}
    ]


def reads(name: str) -> bool:
    """Return whether the table function ``name`` of DuckDB is known to only read."""
    return name in _TABLE_FUNCTIONS or name.startswith(_READING)


def _check_function(name: str) -> None:
    """Raise UsageError if DuckDB has a table function of this name that is not known to only read.

    Some run SQL passed as text (``query``), write logs, or read memory by its address.
    """
    name = name.lower()
    if not reads(name) and name not in catalogue.macros() and name in _table_functions():
        raise UsageError(f"the function {name}() is refused, because a question only reads{_hint(name)}")


@cache  # 25 ms, and only needed for a name that is not one of those above
def _table_functions() -> frozenset[str]:
    with duckdb.connect() as fresh:
        rows = fresh.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'")
        return frozenset(name.lower() for (name,) in rows.fetchall())


def _hint(name: str) -> str:
    return "; write the query itself in its place, in parentheses" if name == "query" else ""


def _refuse(what: str, more: str = "") -> NoReturn:
    remedy = next((f"; {sentence}" for kinds, sentence in _REMEDIES.items() if what in kinds), "")
    raise UsageError(f"{what} is refused, because a question only reads: {ALLOWED}{remedy}{more}")


_JUDGES: Final[dict[str, Callable[[duckdb.DuckDBPyConnection, str], None]]] = {
    "SELECT": _select,
    "EXPLAIN": _explain,
    "MULTI": _words,
}
