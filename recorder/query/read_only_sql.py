"""What a question in SQL may do: read. Judged by its statement, since no setting of DuckDB says so.

DuckDB's COPY writes through ``allowed_directories``, read-only databases and read-only transactions, inside a common
table expression, and under EXPLAIN ANALYZE. So whatever a user asks is parsed before it runs, and what is not known to
read is refused.

Owns: that judgement. Refuses: SQL of this package, which creates views and fills tables in memory.
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
"""Parts of a parsed query that read. The others are COPY_QUERY_NODE, INSERT_QUERY_NODE and their like."""
# A text inside the tree has its quotes escaped, so these find nothing within texts.
_NODE: Final = re.compile(r'"type":"(\w+_NODE)"')
_INFO: Final = re.compile(r'"info_type":"')
_TABLE: Final = '"type":"TABLE_FUNCTION"'
_TABLE_FUNCTION: Final = re.compile(r'"function":\{"class":"FUNCTION",[^{}]*?"function_name":"((?:[^"\\]|\\.)*)"')

_WORD: Final = re.compile(r"[a-z_][a-z0-9_]*|\(")
"""Words of ASCII, as all of SQL are. What stands between may be a space to the parser, a letter to the tokenizer."""
_STARTS: Final = frozenset({"select", "from", "with", "values", "table", "pivot", "unpivot"})
"""Words with which a query that only reads begins, where it has no tree."""
_WRITES: Final = frozenset({"copy", "insert", "update", "delete", "merge", "truncate", "create"})
"""Words one of which every query has that writes: the parser takes no other statement within one."""

_TABLE_FUNCTIONS: Final = frozenset(
    {"generate_series", "glob", "icu_calendar_names", "json_each", "json_tree", "pg_timezone_names", "query_table"}
    | {"range", "repeat", "repeat_row", "sniff_csv", "summary", "test_all_types", "test_vector_types", "unnest"}
    | {"which_secret"}
)
"""DuckDB's table functions that read, but for those told by how they begin."""
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
    """Return if ``text`` is one statement that only reads. Raises UsageError otherwise, duckdb.Error if it is no SQL.

    ``connection`` parses it; nothing is run. It takes about a millisecond.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("the SQL is not Unicode text: it has half of a surrogate pair") from None
    try:
        kinds = [statement.type.name for statement in connection.extract_statements(text)]
    except ValueError:  # a kind that DuckDB has no name for in Python
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
    """Judge by the parsed tree."""
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
    """Judge by words, where there is no tree: that of a PIVOT, which DuckDB makes several statements of.

    Not by its plan: to plan it, even for EXPLAIN, DuckDB runs the first of these statements, COPY included.
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
    """Judge what is explained, wherever it may begin: after the word, after ANALYZE, after options in parentheses."""
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
    """Return where the words go on after those in parentheses that begin ``at`` this one, if such do."""
    depth = 0
    for place in range(at, len(words)):
        depth += {"(": 1, ")": -1}.get(words[place], 0)
        if not depth:
            return place + 1 if words[at] == "(" else at
    return at


def _tokens(text: str) -> list[tuple[int, str]]:
    """Return words and signs of ``text``, not comments and texts, in lower case, each with the byte it begins at."""
    raw = text.encode()
    found = duckdb.tokenize(text)
    ends = [place for place, _ in found[1:]] + [len(raw)]
    return [
        (place, raw[place:end].decode().strip().lower())
        for (place, kind), end in zip(found, ends, strict=True)
        if kind not in {duckdb.token_type.comment, duckdb.token_type.string_const}
    ]


def reads(name: str) -> bool:
    """Return whether the table function ``name`` of DuckDB is known to do nothing but read."""
    return name in _TABLE_FUNCTIONS or name.startswith(_READING)


def _check_function(name: str) -> None:
    """Return unless DuckDB has a table function of this name of which it is not known that it only reads.

    Some run SQL that they are given as text (``query``), write logs, or read memory by its address.
    """
    name = name.lower()
    if not reads(name) and name not in catalogue.macros() and name in _table_functions():
        raise UsageError(f"the function {name}() is refused, because a question only reads{_hint(name)}")


@cache  # 25 ms, and only asked where a name is not one of those above
def _table_functions() -> frozenset[str]:
    with duckdb.connect() as fresh:
        rows = fresh.execute("SELECT function_name FROM duckdb_functions() WHERE function_type = 'table'")
        return frozenset(name.lower() for (name,) in rows.fetchall())


def _hint(name: str) -> str:
    return "; write the query itself in its place, in parentheses" if name == "query" else ""


def _refuse(what: str, more: str = "") -> NoReturn:
    remedy = next((f"; {said}" for kinds, said in _REMEDIES.items() if what in kinds), "")
    raise UsageError(f"{what} is refused, because a question only reads: {ALLOWED}{remedy}{more}")


_JUDGES: Final[dict[str, Callable[[duckdb.DuckDBPyConnection, str], None]]] = {
    "SELECT": _select,
    "EXPLAIN": _explain,
    "MULTI": _words,
}
