"""Which files a statement over views of all pairs takes up."""

from __future__ import annotations

import duckdb
import pytest

from recorder.core.model import Event
from recorder.query import statement_pairs
from recorder.query.connect import connect
from tests.archives import START_US, Written, trades

ONE = {"BTC/USD"}
PARAMS = {"pair": "BTC/USD", "id": 2, "none": None}


def found(text: str) -> set[str]:
    ((tree,),) = duckdb.execute("SELECT json_serialize_sql($text)", {"text": text}).fetchall()
    return set(statement_pairs.pairs(tree, PARAMS))


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("FROM trades WHERE pair = $pair AND trade_id = $id", ONE),
        ("SELECT max(price) FROM Trades AS t WHERE qty > 1 AND 'BTC/USD' = T.pair ORDER BY 1 LIMIT 5", ONE),
        ("FROM trades WHERE pair IN ($pair, 'ETH/USD') AND time > now()", {*ONE, "ETH/USD"}),
        (
            "FROM (FROM trades WHERE pair = 'A') a ASOF JOIN (FROM trades WHERE pair = 'B') b ON a.time >= b.time",
            {*"AB"},
        ),
        (
            "WITH a AS (FROM trades WHERE pair = $pair) SELECT * FROM a UNION ALL FROM trades WHERE pair = 'B'",
            {*ONE, "B"},
        ),
        ("SELECT (SELECT max(price) FROM trades WHERE pair = $pair) AS highest", ONE),
        ("FROM certificates WHERE pair = $pair AND day = '2025-11-10'", ONE),
        ("FROM Coverage AS c WHERE ($pair IS NULL OR c.pair = $pair) AND ($none IS NULL OR first_id > $none)", ONE),
        ("FROM gaps WHERE pair = 'B' UNION ALL BY NAME FROM coverage WHERE coverage.pair = $pair", {*ONE, "B"}),
        ("FROM gaps WHERE $none IS NULL OR pair = $pair", set()),
        ("FROM gaps WHERE $pair IS NULL OR pair = $pair OR missing > 1", set()),
        ("FROM gaps WHERE pair IS NULL OR pair = $pair", set()),
        ("FROM gaps WHERE $pair IS NOT NULL OR pair = $pair", set()),
        ("FROM coverage JOIN gaps USING (pair) WHERE pair = $pair", set()),
        ("FROM trades WHERE pair = $pair AND EXISTS (FROM gaps AS g WHERE g.pair = trades.pair)", set()),
        ("FROM trades", set()),
        ("FROM trades WHERE pair = $pair OR trade_id = $id", set()),
        ("FROM trades WHERE NOT pair = $pair", set()),
        ("FROM trades WHERE pair <> $pair", set()),
        ("FROM trades WHERE pair NOT IN ('A', 'B')", set()),
        ("FROM trades WHERE pair = side", set()),
        ("FROM trades WHERE pair = $id", set()),
        ("FROM trades WHERE pair || '' = $pair", set()),
        ("FROM trades WHERE side = $pair", set()),
        ("FROM trades AS t(side, pair) WHERE pair = $pair", set()),
        ("FROM trades AS a ASOF LEFT JOIN trades AS b ON a.time >= b.time WHERE b.pair = $pair", set()),
        ("FROM trades AS a WHERE pair = $pair AND price < (SELECT max(price) FROM trades AS b)", set()),
        ("FROM trades AS a WHERE EXISTS (FROM trades AS b WHERE a.pair = 'A')", set()),
        ("FROM (FROM trades WHERE pair = $pair) JOIN trades USING (trade_id)", set()),
        ("SELECT 1", set()),
        ("PIVOT trades ON side USING sum(qty)", set()),
    ],
)
def test_a_statement_is_confined_where_each_use_of_the_view_asks_for_pairs(text: str, pairs: set[str]) -> None:
    assert found(text) == pairs


@pytest.mark.parametrize("live", [False, True])
def test_only_the_files_of_those_pairs_are_taken_up_and_the_rows_are_the_same(archive: Written, *, live: bool) -> None:
    for pair in ("BTC/USD", "ETH/USD", "SOL/USD"):
        archive.append(trades(1, 3, pair=pair))
    archive.journalled(trades(4, 4))
    asked = {"pair = 'BTC/USD'": 1, "pair IN ('SOL/USD', 'BTC/USD')": 2, "pair = 'X/Y'": 0, "pair >= 'BTC/USD'": 3}
    with connect(archive.data, live=live) as opened, connect(archive.data, live=live, frozen=True) as kept:
        for where, files in asked.items():
            text = f"SELECT pair, trade_id, price FROM trades WHERE {where} ORDER BY ALL"
            assert opened.sql(text, to="arrow").equals(kept.sql(text, to="arrow"))
            assert len(opened._reader._engine._lists["files"]) == files + 1  # the empty one


def test_what_is_known_of_a_pair_does_not_depend_on_the_files_of_others(archive: Written) -> None:
    for pair in ("BTC/USD", "ETH/USD"):
        archive.append([*trades(1, 3, pair=pair), *trades(6, 8, pair=pair)])
        archive.noted(
            Event(START_US, "void", pair, '{"first_id":4,"last_id":4}'),
            Event(START_US, "promised", pair, f'{{"time_us":{START_US}}}'),
        )
    archive.noted(Event(START_US, "promised", "SOL/USD", f'{{"time_us":{START_US}}}'))
    with connect(archive.data) as opened, connect(archive.data, frozen=True) as kept:
        for view in sorted(statement_pairs.VIEWS):
            for pair in ("BTC/USD", "SOL/USD", "X/Y"):
                text = f"FROM {view} WHERE pair = $pair ORDER BY ALL"
                assert opened.sql(text, to="arrow", pair=pair).equals(kept.sql(text, to="arrow", pair=pair))
                assert len(opened._reader._engine._lists["files"]) == (pair == "BTC/USD") + 1
