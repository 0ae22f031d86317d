"""A question reads: whatever else it is, it is refused in a sentence, and not a byte of the archive changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest

from recorder.errors import UsageError
from recorder.query import catalogue, read_only_sql
from recorder.query.connect import Archive, connect
from tests.archives import Written, trades

COPIED = "COPY (SELECT 1 AS a, 2 AS b) TO '{data}/x.csv'"


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


RUN_AS_TEXT = f"json_execute_serialized_sql(json_serialize_sql({quoted(f'WITH q AS ({COPIED}) FROM q')}))"

WRITES = [
    COPIED,
    COPIED + " (USE_TMP_FILE false)",
    f"/* only a question */ {COPIED} -- so it is",
    "COPY trades TO '{data}/t.parquet'",
    "COPY (FROM trades) TO '{data}/t' (PARTITION_BY pair, OVERWRITE true)",
    "COPY recorder_tail FROM '{data}/x.csv'",
    "COPY FROM DATABASE memory TO other",
    f"WITH q AS ({COPIED}) FROM q",
    f"WITH q AS ({COPIED} (USE_TMP_FILE false)) FROM q",
    f"WITH q AS MATERIALIZED ({COPIED}) SELECT 1",
    f"WITH a AS (SELECT 1), q AS ({COPIED}) SELECT (SELECT count(*) FROM q)",
    f"FROM (WITH q AS ({COPIED}) FROM q)",
    f"WITH q AS ({COPIED}) SELECT 1 UNION ALL FROM q",
    f"WITH RECURSIVE q AS ({COPIED}), r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
    f"WITH q AS ({COPIED}) PIVOT q ON Count USING sum(Count)",
    f"EXPLAIN WITH q AS ({COPIED}) PIVOT q ON Count USING sum(Count)",
    "COPY (PIVOT trades ON side USING sum(qty)) TO '{data}/x.csv'",
    "CREATE TABLE z AS PIVOT trades ON side USING sum(qty)",
    f"EXPLAIN {COPIED}",
    f"EXPLAIN ANALYZE {COPIED}",
    f"EXPLAIN /* é */ ANALYZE {COPIED} (USE_TMP_FILE false)",
    f"EXPLAIN (ANALYZE, FORMAT json) {COPIED}",
    f"EXPLAIN ANALYZE WITH q AS ({COPIED}) FROM q",
    "EXPLAIN ANALYZE CREATE TABLE z AS SELECT 1",
    "EXPLAIN ANALYZE INSERT INTO recorder_spans VALUES ('X/Y', 1, 2, NULL, NULL)",
    f"PREPARE p AS {COPIED}",
    "EXECUTE p",
    "EXPLAIN ANALYZE EXECUTE p",
    "DEALLOCATE p",
    f"SELECT 1; {COPIED}",
    f"{COPIED}; SELECT 1",
    f"SELECT 1\0; {COPIED}",
    f"FROM {RUN_AS_TEXT}",
    f"SELECT (SELECT count(*) FROM {RUN_AS_TEXT})",
    "FROM main.\"JSON_EXECUTE_SERIALIZED_SQL\"('x')",
    f"PRAGMA {RUN_AS_TEXT}",
    f"PIVOT (FROM {RUN_AS_TEXT}) ON Count USING sum(Count)",
    f"FROM query({quoted(f'FROM {RUN_AS_TEXT}')})",
    "SUMMARIZE FROM query('SELECT 1')",
    "SELECT * FROM range(2) AS r, LATERAL query('SELECT 1')",
    "EXPORT DATABASE '{data}/x'",
    "IMPORT DATABASE '{data}'",
    "ATTACH '{data}/x.duckdb'",
    "DETACH memory",
    "USE memory",
    "CHECKPOINT",
    "FROM checkpoint()",
    "FROM force_checkpoint()",
    "VACUUM",
    "ANALYZE",
    "BEGIN",
    "ROLLBACK",
    "SET threads = 1",
    "SET VARIABLE recorder_files = []",
    "RESET threads",
    "SET TimeZone = 'Asia/Tokyo'",
    "SET lock_configuration = false",
    "PRAGMA threads = 1",
    "PRAGMA enable_profiling",
    "CALL enable_logging(storage := 'file', storage_path := '{data}/logs')",
    "FROM enable_logging(storage := 'file', storage_path := '{data}/logs')",
    "FROM enable_profiling(save_location := '{data}/x.txt')",
    "FROM truncate_duckdb_logs()",
    "FROM register_external_resource_type('x')",
    "FROM arrow_scan(0, 0, 0)",
    "FROM seq_scan()",
    "INSERT INTO recorder_spans VALUES ('X/Y', 1, 2, NULL, NULL)",
    "WITH q AS (INSERT INTO recorder_spans VALUES ('X/Y', 1, 2, NULL, NULL) RETURNING *) FROM q",
    "UPDATE recorder_spans SET last_id = 9",
    "WITH q AS (UPDATE recorder_spans SET last_id = 9 RETURNING *) FROM q",
    "WITH q AS (DELETE FROM recorder_spans RETURNING *) PIVOT q ON pair USING sum(last_id)",
    "DELETE FROM recorder_spans",
    "TRUNCATE recorder_spans",
    "WITH q AS (TRUNCATE recorder_spans) SELECT 1",
    "MERGE INTO recorder_spans AS s USING recorder_spans AS t ON s.pair = t.pair WHEN MATCHED THEN DELETE",
    "DROP VIEW trades",
    "ALTER TABLE recorder_spans ADD COLUMN x INT",
    "COMMENT ON VIEW trades IS 'x'",
    "CREATE VIEW mine AS SELECT 1",
    "CREATE OR REPLACE VIEW trades AS SELECT 1",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE MACRO mine() AS 1",
    "CREATE OR REPLACE MACRO candles(a, b) AS TABLE SELECT 1",
    "CREATE SEQUENCE mine",
    "CREATE TYPE mine AS ENUM ('a')",
    "CREATE SCHEMA mine",
    "CREATE SECRET mine (TYPE http, BEARER_TOKEN 'x')",
    "CREATE PERSISTENT SECRET mine (TYPE http, BEARER_TOKEN 'x')",
    "DROP SECRET mine",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{data}/x.duckdb_extension'",
    "UPDATE EXTENSIONS",
]

READS = [
    "SELECT 1 AS copy, 'INSERT INTO x' AS text;",
    "FROM trades -- COPY",
    "TABLE trades",
    "VALUES (1), (2)",
    "WITH q AS (FROM trades) SELECT count(*) FROM q",
    "WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 3) FROM r",
    "FROM candles('BTC/USD', '1m')",
    "FROM query_table('trades')",
    "PIVOT trades ON side USING sum(qty)",
    'FROM (PIVOT (SELECT side, qty AS "copy" FROM trades) ON side USING sum("copy"))',
    "PIVOT (FROM candles('BTC/USD', '1m')) ON complete USING count(*)",
    "PIVOT trades ON side IN ('buy') USING sum(qty)",
    "UNPIVOT (SELECT 1 AS a, 2 AS b) ON a, b",
    "DESCRIBE trades",
    "SUMMARIZE trades",
    "SHOW TABLES",
    "EXPLAIN FROM trades",
    "EXPLAIN (FROM trades)",
    "EXPLAIN ANALYZE FROM trades",
    "EXPLAIN (ANALYZE, FORMAT json) /* é */ SELECT 'é'",
    "EXPLAIN PIVOT trades ON side USING sum(qty)",
    "SELECT list_transform([1, 2], lambda x: x + 1)",
    'SELECT \'"type":"COPY_QUERY_NODE"\', \'"info_type":"\', \'"type":"TABLE_FUNCTION"\'',
    "FROM duckdb_settings()",
    "FROM range(3) SELECT histogram(range)",
]


@pytest.fixture
def opened(archive: Written) -> Iterator[Archive]:
    archive.append(trades(1, 3))
    with connect(archive.data) as found:
        yield found


def content(folder: Path) -> dict[str, str]:
    """Return every file and folder, with the digest of the files."""
    every = sorted(folder.rglob("*"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "" for path in every}


def test_nothing_that_is_asked_changes_the_archive_or_what_is_asked_next(opened: Archive, archive: Written) -> None:
    before = content(archive.data)
    views = opened.sql("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal", to="arrow")
    for text in WRITES:
        asked = text.replace("{data}", str(archive.data))
        with pytest.raises(UsageError, match=r"refused|SQL statements|Recursive CTEs with COPY") as caught:
            opened.sql(asked)
        assert "\n" not in str(caught.value), asked
        assert content(archive.data) == before, asked
    assert opened.sql("SELECT view_name, sql FROM duckdb_views() WHERE NOT internal", to="arrow").equals(views)
    assert len(opened.trades("BTC/USD")) == 3


SPACES = [
    *(
        " ",
        "\t",
        "\n",
        "\v",
        "\f",
        "\r",
        "\x00",
        "\x1c",
        "\x1f",
        "\x85",
        "\xa0",
        "\u1680",
        "\u180e",
        "\u2000",
        "\u2003",
    ),
    *(
        "\u200b",
        "\u2028",
        "\u2029",
        "\u202f",
        "\u205f",
        "\u3000",
        "\ufeff",
        "/**/",
        "/* /* */ */",
        "/*/**/*/",
        "/**//**/",
    ),
    *("/* -- */", "--x\n", "--x\r", "-- /*\n", "--x\u2028", "#x\n"),
]
"""What the parser, or the tokenizer, or a person may take for a space."""
SPACED = [
    "WITH q AS_(COPY_(SELECT 1) TO 'x.csv') PIVOT q ON Count USING sum(Count)",
    "EXPLAIN_WITH q AS (_COPY_(SELECT 1) TO 'x.csv') PIVOT q ON Count USING sum(Count)",
    "EXPLAIN (ANALYZE, FORMAT json)_WITH q AS (COPY_(SELECT 1) TO 'x.csv') PIVOT q ON Count USING sum(Count)",
    "WITH q AS (SELECT $$ ' $$), r AS_(COPY_(SELECT 1) TO 'x.csv') PIVOT r ON Count USING sum(Count)",
    "PIVOT (FROM query_('SELECT 1')) ON a USING sum(b)",
    "PIVOT (FROM system.main.\"query\"_('SELECT 1')) ON a USING sum(b)",
    "WITH q AS (COPY_(SELECT 1) TO 'x.csv') FROM q",
    "EXPLAIN_ANALYZE_COPY_(SELECT 1) TO 'x.csv'",
    "EXPLAIN_(ANALYZE)_COPY_(SELECT 1) TO 'x.csv'",
    "_COPY (SELECT 1)_TO 'x.csv'",
]


@pytest.mark.parametrize("text", SPACED)
def test_whatever_stands_between_the_words_they_are_seen(text: str) -> None:
    with duckdb.connect() as fresh:
        for space in SPACES:
            with pytest.raises((UsageError, duckdb.ParserException)):
                read_only_sql.check(fresh, text.replace("_", space))


def test_whatever_reads_is_answered(opened: Archive) -> None:
    for text in READS:
        assert opened.sql(text, to="arrow").num_rows > 0, text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (COPIED, "COPY is refused, because a question only reads: SELECT, .*`recorder sql -o FILE`"),
        (f"WITH q AS ({COPIED}) FROM q", "COPY is refused"),
        ("SET threads = 1", "SET is refused, .* give threads and memory to connect"),
        ("CREATE VIEW x AS SELECT 1", "CREATE is refused, .*`recorder views`"),
        ("SELECT 1; SELECT 2", "these are 2 SQL statements, and a question is one"),
        ("UPDATE EXTENSIONS", "this statement is refused"),
        ("FROM query('SELECT 1')", r"the function query\(\) is refused.* in parentheses"),
        ("PIVOT (SELECT 1 AS update) ON update", "UPDATE is refused, .* double quotes"),
        ("SELECT '\ud800'", "not Unicode"),
    ],
)
def test_the_sentence_says_what_is_allowed_and_what_to_do_instead(opened: Archive, text: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        opened.sql(text)


def test_frames_and_files_of_the_caller_are_read(opened: Archive, tmp_path: Path) -> None:
    mine = pd.DataFrame({"a": [1, 2]})
    theirs = pa.table({"a": [2, 3]})  # noqa: F841
    mine.to_csv(tmp_path / "x.csv", index=False)
    mine.to_parquet(tmp_path / "x.parquet")
    assert opened.sql("SELECT sum(a)::BIGINT AS n FROM (FROM mine UNION ALL FROM theirs)")["n"][0] == 8
    for source in ("read_csv($path || '.csv')", "read_parquet($path || '.parquet')", f"'{tmp_path}/x.csv'"):
        given: dict[str, Any] = {"path": str(tmp_path / "x")} if "$path" in source else {}
        assert opened.sql(f"SELECT sum(a)::BIGINT AS n FROM {source}", **given)["n"][0] == 3
    with pytest.raises(UsageError, match="does not exist"):
        opened.sql("FROM nowhere")


def test_every_analysis_and_every_function_that_reads_is_known(opened: Archive) -> None:
    with duckdb.connect() as fresh:
        for question in catalogue.questions():
            read_only_sql.check(fresh, question.text)
    # A new one of DuckDB's is refused until somebody has looked at it.
    names = opened.sql("SELECT DISTINCT function_name AS name FROM duckdb_functions() WHERE function_type = 'table'")
    refused = [name for name in names["name"] if not read_only_sql.reads(name)]
    assert sorted(refused) == [
        "arrow_scan",
        "arrow_scan_dumb",
        "checkpoint",
        "create_external_resource",
        "deregister_external_resource",
        "destroy_external_resource",
        "disable_logging",
        "disable_profiling",
        "enable_logging",
        "enable_profiling",
        "force_checkpoint",
        "json_execute_serialized_sql",
        "pandas_scan",
        "python_arrow_scan",
        "python_map_function",
        "query",
        "register_external_resource",
        "register_external_resource_type",
        "seq_scan",
        "truncate_duckdb_logs",
    ]


def test_threads_and_memory_are_given_to_connect_and_to_its_cursors(archive: Written) -> None:
    setting = "SELECT current_setting('threads') AS threads, current_setting('memory_limit') AS memory"
    with connect(archive.data, threads=1, memory="200MiB") as opened, opened.cursor() as other:
        for one in (opened, other):
            assert one.sql(setting).to_dict("records") == [{"threads": 1, "memory": "200.0 MiB"}]
    with pytest.raises(UsageError, match="threads = 0: give 1 or more"):
        connect(archive.data, threads=0)
    with pytest.raises(UsageError, match=r"DuckDB: .*Memory"):
        connect(archive.data, memory="much")


def test_nothing_is_installed_loaded_or_set(opened: Archive) -> None:
    names = ("autoinstall_known_extensions", "autoload_known_extensions", "allow_community_extensions")
    values = opened.sql("SELECT name, value FROM duckdb_settings()").set_index("name")["value"]
    assert [values[name] for name in names] == ["false"] * 3
    assert values["lock_configuration"] == "true"
