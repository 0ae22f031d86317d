"""``recorder import``: the sandbox's history files come into the archive exactly once, whatever is wrong with them."""

from __future__ import annotations

import itertools
import json
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import typer
from msgspec import structs

from recorder.archive import load_ledger, quarantine, read_trades, verify_trades
from recorder.archive.coverage import Coverage
from recorder.archive.layout import Layout
from recorder.archive.parquet import OpenFile
from recorder.cli import import_history as module
from recorder.cli.import_history import import_history
from recorder.core.ledger import Ledger
from recorder.core.model import Trade
from recorder.core.trade_ids import Span
from recorder.errors import Unavailable, UsageError
from recorder.history import columns, members, trade_import
from recorder.history.listed_names import ListedNames
from recorder.history.members import find
from recorder.kraken import history_files as lines
from recorder.ops import missing_ids, process_setup
from recorder.sandbox import history_files
from recorder.sandbox.history_files import DEBRIS, Defect, Print
from recorder.sandbox.market import Market
from recorder.sandbox.tape import MARKET, SELL, Tape
from tests.archives import writing

ROWS = 3_000
START_NS = 1_767_225_600_000_000_000
NAMES = ["XBTUSD=BTC/USD", "XDGUSD=DOGE/USD"]


@pytest.fixture(autouse=True)
def unprepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave this process as it is, since the verb has one of its own, and ask no exchange for its listing."""

    async def unavailable(*_: object) -> ListedNames:
        raise Unavailable("the exchange is not asked here")

    monkeypatch.setattr(process_setup, "prepare", lambda: None)
    monkeypatch.setattr(module, "_listed", unavailable)


@pytest.fixture(autouse=True)
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read and write as many pieces of a small file as of a large one."""
    monkeypatch.setattr(members.Member.blocks, "__defaults__", (9_999,))
    monkeypatch.setattr(trade_import, "COMMITTED_ROWS", 700)
    monkeypatch.setattr(trade_import, "HELD_BACK", 50)


@pytest.fixture(scope="module")
def market() -> Market:
    return Market(start_ns=START_NS, seed=7, rate=10.0, history=ROWS)


@pytest.fixture(scope="module")
def bitcoin(market: Market) -> Tape:
    return market.tapes["BTC/USD"]


def run(*paths: Path, data: Path, said: Sequence[str] = NAMES, **options: Any) -> int:
    """Run the verb; return its exit code."""
    given = {"dry_run": False, "as_json": False, "pair": None, "join": False, **options}
    try:
        import_history(list(paths), as_=list(said), data=data, **given)
    except typer.Exit as ended:
        return ended.exit_code
    return 0


def truth(tape: Tape, span: Span, time_digits: int = 6) -> list[Trade]:
    """Return the trades as they were made, in the archive's terms."""
    unit_ns = 10 ** (9 - time_digits)
    return [
        Trade(
            tape.pair.symbol,
            trade_id,
            time_ns // unit_ns * unit_ns // 1000,
            Decimal(price).scaleb(-tape.price_digits),
            Decimal(qty).scaleb(-tape.qty_digits),
            "sell" if mark & SELL else "buy",
            "market" if mark & MARKET else "limit",
            "",
            "bulk",
            None,
        )
        for trade_id, time_ns, price, qty, mark in tape.rows(span)
    ]


def stored(data: Path, pair: str = "BTC/USD") -> list[Trade]:
    return sorted(read_trades.trades(Layout(data), pair), key=lambda row: row.trade_id)


def checked(data: Path, pair: str = "BTC/USD") -> None:
    """Check that every file of the pair is sound, its footer included."""
    with ThreadPoolExecutor(1) as pool:
        assert list(verify_trades.read(Layout(data), pair, pool).findings) == []


@pytest.mark.parametrize(
    "printed",
    [
        Print(),
        Print(header=False, line_end="\r\n"),
        Print(odd_first_line=True),
        Print(header=False, odd_first_line=True, time_digits=3),
        Print(time_digits=9),
    ],
)
def test_every_trade_comes_exactly_once_and_to_the_last_digit(tmp_path: Path, bitcoin: Tape, printed: Print) -> None:
    ids = Span(1, ROWS)
    path = history_files.write_zip(
        tmp_path / "Kraken_Trading_History_Q1_2026.zip",
        {**DEBRIS, "in/XBTUSD.csv": history_files.trades(bitcoin, ids, printed)},
    )
    for _ in range(2):
        assert run(path, data=tmp_path / "data") == 0
        assert stored(tmp_path / "data") == truth(bitcoin, ids, min(6, printed.time_digits))
    files = Coverage(Layout(tmp_path / "data")).files("BTC/USD")
    digits = {one.time_digits for file in files for one in file.footer.imported}
    assert digits == {min(6, printed.time_digits)}
    assert min(file.rows for file in files[:-1]) >= 700  # what is held back makes no files of its own


def test_overlapping_files_in_any_order_beside_recorded_rows(tmp_path: Path, bitcoin: Tape) -> None:
    data = tmp_path / "data"
    with writing(data) as written:
        written.append(recorded(truth(bitcoin, Span(1_000, 1_200))))
    parts = [Span(900, 2_000), Span(1, 950), Span(1_900, ROWS)]
    paths = [tmp_path / str(number) / "XBTUSD.csv" for number in range(3)]
    for path, ids in zip(paths, parts, strict=True):
        path.parent.mkdir()
        path.write_bytes(history_files.trades(bitcoin, ids))
    assert run(*paths, data=data) == 0
    found = stored(data)
    assert [row.trade_id for row in found] == list(range(1, ROWS + 1))
    assert [row.source for row in found[998:1_001]] == ["bulk", "rest", "rest"]
    assert [(row.price, row.qty, row.time_us) for row in found] == [
        (row.price, row.qty, row.time_us) for row in truth(bitcoin, Span(1, ROWS))
    ]


def recorded(rows: Sequence[Trade]) -> list[Trade]:
    return [Trade(*(*(getattr(row, name) for name in Trade.__struct_fields__[:-2]), "rest", None)) for row in rows]


def test_an_import_that_was_interrupted_goes_on_where_it_was(
    tmp_path: Path, bitcoin: Tape, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = history_files.write_zip(
        tmp_path / "q.zip", {"XBTUSD.csv": history_files.trades(bitcoin, Span(1, ROWS), Print(odd_first_line=True))}
    )
    data, whole, parse = tmp_path / "data", members.Member.blocks, columns.read_trades
    lefts, parsed = iter(range(4, 20, 3)), [0]

    def cut(one: members.Member) -> Iterator[bytes]:
        yield from itertools.islice(whole(one), next(lefts))
        raise KeyboardInterrupt

    def counted(lines: bytes, pair: str, at: int = 0) -> columns.Block:
        parsed[-1] += len(lines) if not at else 0
        return parse(lines, pair, at)

    monkeypatch.setattr(columns, "read_trades", counted)
    monkeypatch.setattr(members.Member, "blocks", cut)
    for _ in range(5):
        with pytest.raises(KeyboardInterrupt):
            run(path, data=data)
        checked(data)
        parsed.append(0)
    monkeypatch.setattr(members.Member, "blocks", whole)
    capsys.readouterr()
    assert run(path, data=data, as_json=True) == 0
    assert stored(data) == truth(bitcoin, Span(1, ROWS))
    result = json.loads(capsys.readouterr().out)["members"][0]["result"]
    assert (result["rows"], result["added"], result["compared"], result["odd"]["count"]) == (ROWS, ROWS, 0, 2)
    assert sum(parsed) < 2 * find([path]).members[0].size  # five calls that began anew would have read it thrice
    assert not list((data / ".staging").glob("**/*.parquet"))


def test_what_was_imported_is_skipped_as_long_as_it_is_stored(
    tmp_path: Path, market: Market, bitcoin: Tape, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    doge, data, text = market.tapes["DOGE/USD"], tmp_path / "data", history_files.trades(bitcoin, Span(1, 900))
    path = history_files.write_zip(
        tmp_path / "q.zip", {"XBTUSD.csv": text, "XDGUSD.csv": history_files.trades(doge, Span(1, 900))}
    )
    (tmp_path / "XBTUSD.csv").write_bytes(text)  # the same content in another file
    blocks, read = members.Member.blocks, list[str]()

    def noted(one: members.Member) -> Iterator[bytes]:
        read.append(one.name.altname)
        return blocks(one)

    monkeypatch.setattr(members.Member, "blocks", noted)
    for expected in (["XBTUSD", "XDGUSD"], ["XBTUSD"], []):
        assert run(path, tmp_path / "XBTUSD.csv", data=data) == 0
        assert read == expected
        assert stored(data) == truth(bitcoin, Span(1, 900))
        for file in Layout(data).trade_files("BTC/USD") if expected[1:] else ():
            file.unlink()  # then it is read again
        read.clear()
    capsys.readouterr()
    assert run(path, data=data, as_json=True, pair=["XBTUSD"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["members"]
    assert one["result"] is None
    assert one["imported_before"] is not None
    (tmp_path / "XBTUSD.csv").write_bytes(text[:-2] + b"1\n")  # of the same size, and another content
    assert run(tmp_path / "XBTUSD.csv", data=data) in {0, 1}
    assert read == ["XBTUSD"]


def test_what_lies_between_is_history_until_it_is_joined(
    tmp_path: Path, bitcoin: Tape, capsys: pytest.CaptureFixture[str]
) -> None:
    data, path = tmp_path / "data", tmp_path / "XBTUSD.csv"
    with writing(data) as written:
        written.append(recorded(truth(bitcoin, Span(2_800, 2_810))))
    path.write_bytes(history_files.trades(bitcoin, Span(301, 400)))
    gap = [Span(401, 2_799)]
    for join, missing, told in ((False, [], [2_399]), (True, gap, [2_399]), (True, gap, [])):
        capsys.readouterr()
        assert run(path, data=data, as_json=True, join=join) == 0
        assert [one.span for one in missing_ids.read(data)["BTC/USD"]] == missing
        between = json.loads(capsys.readouterr().out)["not_stored_between"]
        assert between == [{"pair": "BTC/USD", "ids": ids, "requests": 3, "joined": join} for ids in told]
    ledger = Ledger()
    load_ledger.load(ledger, Layout(data), ())
    assert ledger.of("BTC/USD").promise is None


IDS = Span(1, ROWS)
HARMLESS = {
    Defect.NO_HEADER,
    Defect.ODD_FIRST_LINE,
    Defect.ODD_LINE,
    Defect.CRLF,
    Defect.UNSORTED,
    Defect.DOUBLED,
    Defect.NESTED,
    Defect.DEBRIS,
    Defect.ZIP64,
    Defect.UNLISTED,
    Defect.UNKNOWN_LAYOUT,
}


def test_no_defect_that_can_be_read_costs_a_row(
    tmp_path: Path, market: Market, capsys: pytest.CaptureFixture[str]
) -> None:
    tapes = {pair: market.tapes[pair] for pair in ("BTC/USD", "DOGE/USD")}
    zips = history_files.write(tapes, tmp_path, defects=HARMLESS)
    assert [path.name for path in zips] == [
        "Kraken_Trading_History_Q4_2025.zip",
        "Kraken_Trading_History.zip",
        "Kraken_OHLCVT.zip",
    ]
    data = tmp_path / "data"
    capsys.readouterr()
    assert run(tmp_path, data=data, as_json=True) == 1  # for the members of no layout, and of no pair
    report = json.loads(capsys.readouterr().out)
    for pair, tape in tapes.items():
        assert stored(data, pair) == truth(tape, Span(1, ROWS))
        with_ids = (one for one in report["members"] if one["pair"] == pair and one["layout"] == "trades")
        (result,) = (one["result"] for one in with_ids if one["result"])
        assert (result["rows"], result["added"], result["compared"]) == (ROWS + 30, ROWS, 30)
        assert [said[:8] for said in result["odd"]["first"]] == ["line 1, ", f"line {2 + (ROWS + 30) // 2}"[:8]]
    assert {one["file"].rpartition("/")[2] for one in report["refused"]} == {"STRANGE.csv", "MONAUSD.csv"}
    assert {one["file"].rpartition("/")[2] for one in report["left_out"]} >= {"EMPTY.csv", "QUIET.csv", "read me.txt"}
    layouts = [(one["layout"], one["timeframe"]) for one in report["members"]]
    assert layouts.count(("trades", None)) == layouts.count(("classic", None)) == 2
    assert {timeframe for layout, timeframe in layouts if layout == "ohlcvt"} == {*lines.TIMEFRAMES.values()}
    assert run(tmp_path, data=data, said=[*NAMES, "MONAUSD=MONA/USD"]) == 1
    assert stored(data, "MONA/USD") == [structs.replace(one, pair="MONA/USD") for one in truth(tapes["BTC/USD"], IDS)]


def test_trades_without_ids_and_candles_come_digit_by_digit(tmp_path: Path, bitcoin: Tape) -> None:
    rows, data = list(bitcoin.rows(IDS)), tmp_path / "data"
    history_files.write({"BTC/USD": bitcoin}, tmp_path / "in")
    assert run(tmp_path / "in", data=data) == 0
    trades = pq.read_table(data / "bulk_trades" / "pair=BTC%2FUSD", partitioning=None)
    exact = [
        (Decimal(price).scaleb(-bitcoin.price_digits), Decimal(qty).scaleb(-bitcoin.qty_digits))
        for _, _, price, qty, _ in rows
    ]
    assert trades["row"].to_pylist() == list(range(1, ROWS + 1))
    assert list(zip(trades["price"].to_pylist(), trades["qty"].to_pylist(), strict=True)) == exact
    assert [time.timestamp() for time in trades["time"].to_pylist()] == [time_ns // 10**9 for _, time_ns, *_ in rows]
    candles = pq.read_table(data / "bulk_ohlc" / "pair=BTC%2FUSD", partitioning=None)
    for minutes, timeframe in lines.TIMEFRAMES.items():
        printed = history_files.ohlcvt(bitcoin, IDS, minutes).decode().splitlines()
        found = candles.filter(pc.equal(candles["timeframe"], timeframe)).to_pylist()
        assert [row["row"] for row in found] == list(range(1, len(printed) + 1))
        for row, line in zip(found, printed, strict=True):
            said = lines.candle_of(line)
            assert (row["time"].timestamp(), *(row[name] for name in said._fields[1:-1]), row["count"]) == tuple(said)
    assert run(tmp_path / "in", data=data) == 0
    assert pq.read_table(data / "bulk_ohlc" / "pair=BTC%2FUSD", partitioning=None).equals(candles)


def test_defects_of_content_are_found_and_of_the_zip_refused(
    tmp_path: Path, bitcoin: Tape, capsys: pytest.CaptureFixture[str]
) -> None:
    data, tapes = tmp_path / "data", {"BTC/USD": bitcoin}
    path = history_files.write(tapes, tmp_path / "bad", defects=[Defect.DAMAGED])[0]
    assert run(path, data=data) == 1
    assert stored(data) == []
    assert run(history_files.write(tapes, tmp_path / "good")[0], data=data) == 0
    capsys.readouterr()
    assert run(history_files.write(tapes, tmp_path / "bad", defects=[Defect.CUT])[0], data=data) == 1
    assert "was refused: it is damaged or incomplete" in " ".join(capsys.readouterr().out.split())
    path = history_files.write(tapes, tmp_path / "bad", defects=[Defect.ALTERED, Defect.LATE_TIMES])[0]
    capsys.readouterr()
    assert run(path, data=data, as_json=True) == 1
    result = json.loads(capsys.readouterr().out)["members"][0]["result"]
    assert (result["added"], result["compared"], result["differing"]["count"]) == (0, ROWS, ROWS // 100)
    assert (result["apart"]["count"], result["most_apart_us"]) == (ROWS // 10, 5_000_000)
    assert len(result["apart"]["first"]) == 10
    assert stored(data) == truth(bitcoin, IDS)


def test_rows_that_differ_from_stored_ones_are_reported_and_not_written(
    tmp_path: Path, bitcoin: Tape, capsys: pytest.CaptureFixture[str]
) -> None:
    data, rows = tmp_path / "data", truth(bitcoin, Span(1, 50))
    with writing(data) as written:
        written.append(recorded(rows))
    text = history_files.trades(bitcoin, Span(1, 50), Print(time_digits=3)).decode().splitlines()
    text[5] = text[5].replace(",b,", ",?,").replace(",s,", ",b,").replace(",?,", ",s,")
    seconds = text[9].split(",")[2]
    text[9] = text[9].replace(seconds, f"{float(seconds) + 5:.3f}")
    (tmp_path / "XBTUSD.csv").write_text("\n".join(text))
    capsys.readouterr()
    assert run(tmp_path / "XBTUSD.csv", data=data, as_json=True) == 1
    (one,) = json.loads(capsys.readouterr().out)["members"]
    result = one["result"]
    assert (result["rows"], result["added"], result["compared"], result["time_digits"]) == (50, 0, 50, 3)
    assert result["differing"]["count"] == 1
    assert "5 side" in result["differing"]["first"][0]
    assert result["apart"]["count"] == 1
    assert result["apart"]["first"][0].startswith("9: ")
    assert 4_999_000 <= result["most_apart_us"] <= 5_001_000
    assert stored(data) == recorded(rows)


def test_an_id_that_comes_hundreds_of_times_is_compared_with_its_first_row_in_few_steps(
    tmp_path: Path, bitcoin: Tape, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = history_files.trades(bitcoin, Span(1, 300), Print(header=False)).decode().splitlines()
    odd = text[4].replace(",", "1,", 1)
    path = tmp_path / "XBTUSD.csv"
    path.write_text("\n".join([*text[:200], *[text[4]] * 300, odd, *text[200:], *[text[250]] * 300, odd, ""]))
    reads: list[str] = []
    opened = OpenFile.__enter__

    def counted(file: OpenFile) -> OpenFile:
        reads.append(file.path.name)
        return opened(file)

    monkeypatch.setattr(OpenFile, "__enter__", counted)
    for added in (300, 0):
        reads.clear()
        assert run(path, data=tmp_path / "data", as_json=True) == (1 if added else 0)
        result = json.loads(capsys.readouterr().out)["members"][0]["result"]
        if added:
            counts = result["rows"], result["added"], result["compared"], result["differing"]["count"]
            assert counts == (902, 300, 602, 2)
            assert len(reads) < 50
    assert stored(tmp_path / "data") == truth(bitcoin, Span(1, 300))
    checked(tmp_path / "data")


def test_imported_rows_make_no_promise_and_open_no_gap(tmp_path: Path, bitcoin: Tape) -> None:
    data = tmp_path / "data"
    for number, ids in enumerate((Span(1, 100), Span(500, 700))):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / "XBTUSD.csv").write_bytes(history_files.trades(bitcoin, ids))
    assert run(tmp_path, data=data) == 0
    ledger = Ledger()
    Coverage(Layout(data)).observe_into(ledger, "BTC/USD")
    account = ledger.of("BTC/USD")
    assert account.promise is None
    assert account.newest() is None
    assert account.gaps() == ()
    assert ledger.history("BTC/USD", 0) is None
    assert missing_ids.read(data) == {"BTC/USD": []}
    checked(data)


def test_a_damaged_member_costs_only_itself_and_nothing_of_it_is_stored(
    tmp_path: Path, market: Market, bitcoin: Tape, capsys: pytest.CaptureFixture[str]
) -> None:
    doge, ids = market.tapes["DOGE/USD"], Span(1, 1_500)
    content = {"XBTUSD.csv": history_files.trades(bitcoin, ids), "XDGUSD.csv": history_files.trades(doge, ids)}
    with zipfile.ZipFile(tmp_path / "q.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    whole = (tmp_path / "q.zip").read_bytes()
    at = whole.index(content["XBTUSD.csv"]) + len(content["XBTUSD.csv"]) - 100
    (tmp_path / "q.zip").write_bytes(whole[:at] + b"5" + whole[at + 1 :])
    data = tmp_path / "data"
    assert run(tmp_path / "q.zip", data=data) == 1
    assert "download it again" in capsys.readouterr().out
    assert stored(data) == []
    assert stored(data, "DOGE/USD") == truth(doge, ids)


def test_lines_that_are_no_rows_are_set_aside_word_for_word_with_their_place(
    tmp_path: Path, bitcoin: Tape, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = history_files.trades(bitcoin, Span(1, 600), Print(header=False)).splitlines()
    odd = [b"1,", text[299] + b",7", b"\xff\xfe,", text[400].replace(b",b,", b",x,").replace(b",s,", b",x,")]
    text[:0], text[299:299], text[500:500], text[450:450] = [odd[0]], [odd[1]], [odd[2]], [odd[3]]
    zeros = bytes(1 << 12)
    monkeypatch.setattr(members, "LONGEST_LINE", 1_000)
    path, data = tmp_path / "XBTUSD.csv", tmp_path / "data"
    path.write_bytes(b"\r\n".join([*text, zeros, text[-1]]))
    capsys.readouterr()
    assert run(path, data=data, as_json=True) == 0
    (one,) = json.loads(capsys.readouterr().out)["members"]
    assert stored(data) == truth(bitcoin, Span(1, 600))
    assert (one["result"]["odd"]["count"], one["result"]["compared"]) == (5, 1)
    places = [said.partition(",")[0] for said in one["result"]["odd"]["first"]]
    assert places == [f"line {text.index(line) + 1}" for line in sorted(odd, key=text.index)] + ["line 605"]
    for again in range(2):
        kept = {one.line: one for one in quarantine.listed(Layout(data))}
        assert set(kept) == {*odd, zeros[:1_000] + members.CUT}
        assert kept[odd[1]].why == f"line 300 of {path}: it has 8 fields, not 7"
        assert kept[odd[1]].pair == "BTC/USD"
        assert quarantine.sizes(Layout(data))["history"][0] == 5
        if not again:  # the same lines, from a call that knows nothing of the first
            for file in (*data.glob("events/*/*-*.parquet"), *data.glob(".locks/*.progress")):
                file.unlink()
            assert run(path, data=data) == 0


def test_a_pair_whose_files_are_damaged_is_refused_and_others_are_imported(
    tmp_path: Path, market: Market, bitcoin: Tape
) -> None:
    doge, data = market.tapes["DOGE/USD"], tmp_path / "data"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "XBTUSD.csv").write_bytes(history_files.trades(bitcoin, Span(1, 100)))
    (tmp_path / "in" / "XDGUSD.csv").write_bytes(history_files.trades(doge, Span(1, 100)))
    assert run(tmp_path / "in", data=data, pair=["BTC/USD"]) == 0
    (file,) = Layout(data).trade_files("BTC/USD")
    file.write_bytes(b"no Parquet")
    assert run(tmp_path / "in", data=data) == 1
    assert stored(data, "DOGE/USD") == truth(doge, Span(1, 100))


def test_what_is_inside_is_said_and_nothing_is_written(
    tmp_path: Path, market: Market, bitcoin: Tape, capsys: pytest.CaptureFixture[str]
) -> None:
    tape = market.tapes["DOGE/USD"]
    content = {
        "XBTUSD.csv": history_files.trades(bitcoin, Span(1, 900)),
        "XDGUSD.csv": history_files.classic(tape, Span(1, 99)),
        "XDGUSD_60.csv": history_files.ohlcvt(tape, Span(1, 99), 60),
        "MONAUSD.csv": history_files.classic(tape, Span(1, 9)),
        "WHAT.csv": b"a,b,c\n1,2\n",
    }
    path = history_files.write_zip(tmp_path / "q.zip", content)
    capsys.readouterr()
    assert run(path, data=tmp_path / "data", dry_run=True, as_json=True, said=[*NAMES, "WHAT=A/B"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert {(one["pair"], one["layout"], one["timeframe"]) for one in said["members"]} == {
        ("BTC/USD", "trades", None),
        ("DOGE/USD", "classic", None),
        ("DOGE/USD", "ohlcvt", "1h"),
    }
    assert all(abs(one["rows_about"] - rows) < rows / 20 for one, rows in zip(said["members"][:1], [900], strict=True))
    why = {one["file"].rpartition(" ")[2]: one["reason"] for one in said["refused"]}
    assert "'a,b,c'" in why["WHAT.csv"]
    assert "--as MONAUSD=BASE/QUOTE" in why["MONAUSD.csv"]
    assert not (tmp_path / "data").exists()
    with pytest.raises(UsageError, match="--dry-run"):
        run(path, data=tmp_path / "data", pair=["ETH/USD"])
    assert run(path, data=tmp_path / "data", pair=["XBT/USD"], said=[*NAMES, "WHAT=A/B", "MONAUSD=MONA/USD"]) == 1
    assert len(stored(tmp_path / "data")) == 900
    assert Layout(tmp_path / "data").pairs() == ["BTC/USD"]


def test_names_that_no_listing_knows_are_split_where_that_is_possible_in_one_way(
    tmp_path: Path, bitcoin: Tape, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed(*_: object) -> ListedNames:
        return ListedNames({"XBTUSD": "BTC/USD"}, frozenset({"XBT", "USD", "ETH", "EUR", "MON", "MONA", "AUSD"}))

    monkeypatch.setattr(module, "_listed", listed)
    for name in ("XBTUSD", "ETHEUR", "MONAUSD"):
        (tmp_path / f"{name}.csv").write_bytes(history_files.trades(bitcoin, Span(1, 20)))
    capsys.readouterr()
    assert run(tmp_path, data=tmp_path / "data", dry_run=True, as_json=True, said=()) == 1
    report = json.loads(capsys.readouterr().out)
    assert [(one["pair"], one["pair_by_name_only"]) for one in report["members"]] == [
        ("BTC/USD", False),
        ("ETH/EUR", True),
    ]
    (refused,) = report["refused"]
    assert "it may be MON/AUSD or MONA/USD: say which with --as MONAUSD=BASE/QUOTE" in refused["reason"]
    run(tmp_path, data=tmp_path / "data", dry_run=True, said=["MONAUSD=MONA/USD"])
    printed = capsys.readouterr().out
    assert "ETH/EUR (by its name)" in printed
    assert "MONA/USD " in printed


def test_the_sandbox_prints_what_each_layout_is(market: Market, bitcoin: Tape) -> None:
    ids = Span(1, 50)
    for content, layout in (
        (history_files.trades(bitcoin, ids), lines.Layout.TRADES),
        (history_files.classic(bitcoin, ids, Print(line_end="\r\n")), lines.Layout.CLASSIC),
        (history_files.ohlcvt(bitcoin, ids, 1), lines.Layout.OHLCVT),
    ):
        found = lines.detect(lines.text_lines(content))
        assert found is not None
        assert found.layout is layout
