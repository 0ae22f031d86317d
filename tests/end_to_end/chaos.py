"""Damage of every kind to an archive that is recorded and read, and who answers how: what the chaos test is made of.

A harm changes files as people and disks do; what puts it right again is nothing but what a sentence of ours says. Each
question is answered rightly, which the exchange's own file of the truth decides, or is an error that names a file which
was harmed. In short within the suite (test_chaos.py), at length by hand (benchmarks/chaos.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

import recorder
from recorder.archive import read_trades, stored_evidence
from recorder.archive.datasets import SCHEMA_FILE
from recorder.archive.layout import Layout
from recorder.clock import SystemClock
from recorder.errors import RecorderError, StorageError
from recorder.ops import archive_status, certificates, doctor, missing_ids
from recorder.query import catalogue
from recorder.query.connect import Archive
from recorder.sandbox.ground_truth import TrueTrade, expected_us, read_truth

TABLES: Final = ("ohlc", "events", "instruments")


# ------------------------------------------------------------------------------------------------ harm


@dataclass(slots=True)
class Harm:
    """What was done to the archive: to which ``pairs`` or table, and the files one of which each error must name."""

    kind: str
    pairs: frozenset[str]
    table: str
    named: set[str]
    unseen: bool = False
    """Whether a question sees it only where it compares bytes."""
    healed_s: float | None = None


Doing = Callable[["Place"], Harm]


@dataclass(frozen=True, slots=True)
class Place:
    """Where harm is done: a file of a pair or of a table, another pair, and a back-up of all files there were."""

    data: Path
    path: Path
    pair: str
    other: str
    table: str
    random: Random

    def harm(self, kind: str, *named: Path, pairs: Iterable[str] = (), unseen: bool = False) -> Harm:
        whose = frozenset({self.pair, *pairs} if self.table == "trades" else ())
        return Harm(kind, whose, self.table, {str(path) for path in named}, unseen)

    def beside(self, folder: Path | None = None) -> Path:
        name = f"{self.path.stem}-again.parquet" if self.random.random() < 0.5 else self.path.name
        folder = folder or self.path.parent
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / name).exists():
            name = f"{self.path.stem}-again.parquet"
        return folder / name


def put(path: Path, content: bytes) -> None:
    """Put another file in the place of one, as a copy does that is renamed at its end."""
    aside = path.with_name(f".{path.name}.part")
    aside.write_bytes(content)
    aside.rename(path)


def truncated(place: Place) -> Harm:
    size = place.path.stat().st_size
    os.truncate(place.path, place.random.randrange(1, size))
    return place.harm("truncated", place.path)


def emptied(place: Place) -> Harm:
    os.truncate(place.path, 0)
    return place.harm("emptied", place.path)


def foreign(place: Place) -> Harm:
    stray = place.path.with_name("notes.parquet")
    put(stray, place.random.choice([b"PAR1", b"", b"dear diary\n" * 50]))
    return place.harm("foreign", stray)


def foreign_parquet(place: Place) -> Harm:
    stray = place.path.with_name("mine.parquet")
    aside = stray.with_name(".mine.part")
    pq.write_table(pa.table({"x": [1, 2]}), aside)
    aside.rename(stray)
    return place.harm("foreign parquet", stray)


def a_folder(place: Place) -> Harm:
    stray = place.path.with_name("folder.parquet")
    stray.mkdir()
    return place.harm("a folder", stray)


def a_pipe(place: Place) -> Harm:
    stray = place.path.with_name("pipe.parquet")
    os.mkfifo(stray)
    return place.harm("a pipe", stray)


def dangling(place: Place) -> Harm:
    link = place.path.with_name("link.parquet")
    link.symlink_to("nowhere")
    return place.harm("dangling link", link)


def led_away(place: Place) -> Harm:
    """Put a link in the place of a file, to where a disk is not mounted."""
    place.path.unlink()
    place.path.symlink_to("/mnt/not-mounted/file.parquet")
    return place.harm("led away", place.path)


def misplaced(place: Place) -> Harm:
    target = place.data / "trades" / place.path.parent.parent.name / place.path.parent.name
    other = next(Layout(place.data).pair_dir(place.other).glob("year=*"), None)
    target = (other or target) / place.path.name
    place.path.rename(target)
    return place.harm("misplaced", target, place.path, pairs=(place.other,))


def copied_to_another(place: Place) -> Harm:
    other = next(Layout(place.data).pair_dir(place.other).glob("year=*"))
    copy = other / "copied.parquet"
    shutil.copy(place.path, copy.with_name(".copied.part"))
    copy.with_name(".copied.part").rename(copy)
    return place.harm("copied to another pair", copy, place.path, pairs=(place.other,))


def newer(place: Place) -> Harm:
    """Put there what a later release would write."""
    target = place.path.with_name("newer.parquet")
    table = pq.read_table(place.path, partitioning=None)
    held = json.loads(table.schema.metadata[b"recorder"]) | {"schema": 99, "writer": "kraken-recorder 9.9"}
    aside = target.with_name(".newer.part")
    pq.write_table(table.replace_schema_metadata({b"recorder": json.dumps(held).encode()}), aside)
    aside.rename(target)
    return place.harm("newer", target)


def unreadable(place: Place) -> Harm:
    place.path.chmod(0)
    return place.harm("unreadable", place.path)


def unlistable(place: Place) -> Harm:
    folder = place.path.parent
    folder.chmod(0)
    return place.harm("unlistable", folder)


def _copied(place: Place, kind: str, target: Path) -> Harm:
    aside = target.with_name(f".{target.name}.part")
    shutil.copy(place.path, aside)
    aside.rename(target)
    return place.harm(kind, target, place.path)


def beside(place: Place) -> Harm:
    return _copied(place, "copied beside itself", place.path.with_name("copied.parquet"))


def in_another_year(place: Place) -> Harm:
    return _copied(place, "copied to another year", place.beside(place.path.parent.with_name("year=2021")))


def misspelt(place: Place) -> Harm:
    folder = place.path.parent.parent
    lower = folder.with_name(folder.name.lower().replace("%2f", place.random.choice(["%2f", "%2F"])))
    return _copied(place, "copied to a folder spelled otherwise", place.beside(lower / place.path.parent.name))


def hard_linked(place: Place) -> Harm:
    target = place.path.with_name("linked.parquet")
    os.link(place.path, target)
    return place.harm("hard link", target, place.path)


def soft_linked(place: Place) -> Harm:
    target = place.path.with_name("linked.parquet")
    target.symlink_to(place.path)
    return place.harm("symbolic link", target, place.path)


def flipped(place: Place) -> Harm:
    content = bytearray(place.path.read_bytes())
    at = place.random.randrange(len(content))
    content[at] ^= 1 << place.random.randrange(8)
    put(place.path, bytes(content))
    return place.harm("one byte flipped", place.path, unseen=True)


OF_PAIRS: Final[Sequence[Doing]] = (
    truncated,
    emptied,
    foreign,
    foreign_parquet,
    a_folder,
    a_pipe,
    dangling,
    led_away,
    misplaced,
    copied_to_another,
    newer,
    beside,
    in_another_year,
    misspelt,
    hard_linked,
    soft_linked,
    flipped,
)
TWO_PAIRS: Final = ("misplaced", "copied to another pair")
DENIED: Final[Sequence[Doing]] = (unreadable, unlistable)
"""What root does not feel."""
OF_TABLES: Final[Sequence[Doing]] = (
    truncated,
    emptied,
    foreign,
    foreign_parquet,
    a_folder,
    a_pipe,
    dangling,
    newer,
    beside,
    hard_linked,
    soft_linked,
    flipped,
)


# ------------------------------------------------------------------------------------------------ remedies

_REMEDIES: Final[Sequence[tuple[str, str]]] = (
    ("move one of the two out of the archive", "out"),
    ("move it back to where it belongs, or out of the archive", "out"),
    ("put the file of this name from a back-up in its place", "restore"),
    ("merge a back-up", "out"),
    ("or remove the link", "unlink"),
    ("upgrade the recorder to the release that wrote it", "out"),
    ("that this user may read it", "chmod"),
    ("that this user may list this folder", "chmod"),
    ("move it out", "out"),
)


class Keeper:
    """Who keeps an archive: has a back-up of its files, and does what sentences of ours say."""

    def __init__(self, data: Path, aside: Path) -> None:
        self._data, self._aside = data, aside
        self._backup: dict[str, bytes] = {}
        self._moved = 0
        self.done: Counter[str] = Counter()

    def back_up(self, path: Path) -> None:
        """Keep what a file holds."""
        if path.is_file():
            self._backup[str(path)] = path.read_bytes()

    def follow(self, sentence: str) -> None:
        """Do what a sentence says of the file that it names first."""
        file = next((name for name in _files_in(sentence, self._data)), None)
        act = next((act for words, act in _REMEDIES if words in sentence), None)
        assert file is not None, f"it names no file: {sentence}"
        assert act is not None, f"it says nothing to do: {sentence}"
        path = Path(file)
        self.done[act] += 1
        if act == "chmod" and path.suffix == ".parquet" and path.is_dir():
            act = "out"  # the sentence goes on: else …
        if act == "chmod":
            path.chmod(0o755 if path.is_dir() else 0o644)
        elif act == "restore" and str(path) in self._backup:
            if path.is_symlink() or path.is_fifo():
                path.unlink()
            put(path, self._backup[str(path)])
        elif act == "unlink" and str(path) in self._backup:  # what it led to is back
            path.unlink(missing_ok=True)
            put(path, self._backup[str(path)])
        elif act == "unlink":
            path.unlink(missing_ok=True)
        else:
            self._moved += 1
            with contextlib.suppress(FileNotFoundError):
                path.rename(self._aside / f"{self._moved}-{path.name}")


def _files_in(sentence: str, data: Path) -> list[str]:
    """Return the paths below ``data`` that a sentence names, in its order."""
    return re.findall(rf"{re.escape(str(data))}/[^\s,:;'\"]*", sentence)


def complaints(data: Path) -> list[str]:
    """Return what ``recorder status`` names, each with its remedy."""
    return archive_status.everything(data).damaged


# ------------------------------------------------------------------------------------------------ questions


class Truth:
    """What the exchange made, read along from its file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._size = -1
        self._made: Mapping[str, Mapping[int, TrueTrade]] = {}

    def now(self) -> Mapping[str, Mapping[int, TrueTrade]]:
        """Return all that was made so far."""
        size = self._path.stat().st_size
        if size != self._size:
            self._made, self._size = read_truth(self._path), size
        return self._made


class Wrong(Exception):
    """An answer that is not the truth, or an error that names nothing of what was harmed."""


@dataclass(frozen=True, slots=True)
class Asking:
    """An open archive, the pair asked of, and what was made until now; for one question."""

    archive: Archive
    data: Path
    pair: str
    made: Callable[[], Mapping[str, Mapping[int, TrueTrade]]]

    def rows(self, *tables: Any) -> None:
        """Hold rows against what was made."""
        of = self.made()[self.pair]
        seen: set[int] = set()
        for row in (row for table in tables for row in table.to_pylist()):
            true = of.get(row["trade_id"])
            if true is None or row["trade_id"] in seen:
                raise Wrong(f"{row} {'was never made' if true is None else 'is there twice'}")
            if (row["price"], row["qty"]) != (Decimal(true.price), Decimal(true.qty)):
                raise Wrong(f"{row} is not {true}")
            seen.add(row["trade_id"])

    def summed(self, table: Any) -> None:
        """Hold counts and sums against the ids of which they say they are."""
        for row in table.to_pylist():
            ids = row["ids"] or []
            of = self.made()[row.get("pair", self.pair)]
            if len(ids) != len(set(ids)) or row["n"] != len(ids):
                raise Wrong(f"{row['n']} rows of {len(set(ids))} ids")
            volume = sum((Decimal(of[one].qty) for one in ids), Decimal())
            if ids and row["volume"] != volume:
                raise Wrong(f"a volume of {row['volume']} and not of {volume}")

    def bars(self, table: Any, width_s: int = 60) -> None:
        """Hold bars against what was made: those complete are the truth, and no other is more."""
        volume: Counter[int] = Counter()
        count: Counter[int] = Counter()
        for true in self.made()[self.pair].values():
            for source in ("ws", "rest"):  # they may tell of two minutes
                start = expected_us(true.time_ns, source=source) // (width_s * 1_000_000)
                if source == "ws" or start != true.time_ns // (width_s * 1_000_000_000):
                    volume[start] += int(Decimal(true.qty).scaleb(8))
                    count[start] += 1
        for row in table.to_pylist():
            start = int(row["time"].timestamp()) // width_s
            if row["count"] > count[start] or int(row["volume"].scaleb(8)) > volume[start]:
                raise Wrong(f"{row} is more than {count[start]} trades")
            if row.get("complete") and row["count"] != count[start]:
                raise Wrong(f"{row} says it is complete, and {count[start]} trades were made")


SUMS: Final = "SELECT count(*) AS n, sum(qty) AS volume, list(trade_id) AS ids FROM"


def _spans(asking: Asking, table: Any, *, of: str | None = None) -> None:
    """Hold runs of ids against what was made: they may not overlap."""
    reached: dict[str, int] = {}
    for row in table.sort_by([("pair", "ascending"), ("first_id", "ascending")]).to_pylist():
        if of is not None and row["pair"] != of:
            raise Wrong(f"{row} is not of {of}")
        made = asking.made()[row["pair"]]
        if row["first_id"] <= reached.get(row["pair"], 0) or row["last_id"] not in made:
            raise Wrong(f"{row} was not made so")
        if "rows" in row and row["rows"] != row["last_id"] - row["first_id"] + 1:
            raise Wrong(f"{row} has other rows than ids")
        reached[row["pair"]] = row["last_id"]


def _days(_: Asking, table: Any) -> None:
    said = json.loads((table.schema.metadata or {}).get(b"recorder", b"{}")).get("unknown")
    if said is not None:
        if {*table["status"].to_pylist()} - {"unknown"}:
            raise Wrong(f"some days are known, and yet {said}")
        raise StorageError(said)
    for row in table.to_pylist():
        if row["rows"] < 0 or row["missing"] < 0:
            raise Wrong(str(row))


def _once(table: Any, *key: str) -> None:
    found = Counter(tuple(row[name] for name in key) for row in table.to_pylist())
    again = [one for one, times in found.items() if times > 1]
    if again:
        raise Wrong(f"{again[0]} is there {found[again[0]]} times")


def _sql(asking: Asking, text: str, **params: Any) -> Any:
    return asking.archive.sql(text, to="arrow", decimals=True, **params)


OF_A_PAIR: Final[Mapping[str, Callable[[Asking], None]]] = {
    "trades()": lambda a: a.rows(a.archive.trades(a.pair, on_gap="ignore", to="arrow", decimals=True)),
    "trades(hashed)": lambda a: a.rows(
        a.archive.trades(a.pair, on_gap="ignore", to="arrow", decimals=True, hashed=True)
    ),
    "batches()": lambda a: a.rows(*a.archive.batches(a.pair, rows=100, on_gap="ignore", to="arrow", decimals=True)),
    "candles()": lambda a: a.bars(a.archive.candles(a.pair, "1m", on_gap="ignore", to="arrow", decimals=True)),
    "trades of one": lambda a: a.summed(_sql(a, f"{SUMS} trades WHERE pair = '{a.pair}'")),
    "trades of a parameter": lambda a: a.summed(_sql(a, f"{SUMS} trades WHERE pair = $pair", pair=a.pair)),
    "pair_trades": lambda a: a.summed(_sql(a, f"{SUMS} pair_trades('{a.pair}')")),
    "candles macro": lambda a: a.bars(_sql(a, f"FROM candles('{a.pair}', '1m')")),
    "candles of a parameter": lambda a: a.bars(_sql(a, "FROM candles($pair, '1m')", pair=a.pair)),
    "time_bars": lambda a: a.bars(_sql(a, f"FROM time_bars('{a.pair}', '1 minute')")),
    "tick_bars": lambda a: _once(_sql(a, f"FROM tick_bars('{a.pair}', 10)"), "first_id"),
    "volume_bars": lambda a: _once(_sql(a, f"FROM volume_bars('{a.pair}', 1)"), "first_id"),
    "pair_coverage": lambda a: _spans(a, _sql(a, f"FROM pair_coverage('{a.pair}')"), of=a.pair),
    "coverage of one": lambda a: _spans(a, _sql(a, f"FROM coverage WHERE pair = '{a.pair}'"), of=a.pair),
    "gaps of one": lambda a: _spans(a, _sql(a, f"FROM gaps WHERE pair = '{a.pair}'"), of=a.pair),
    "certificates of one": lambda a: _days(
        a, _sql(a, f"SELECT * EXCLUDE (sha256) FROM certificates WHERE pair = '{a.pair}'")
    ),
    "ohlc()": lambda a: _once(a.archive.ohlc(a.pair, "1m", on_gap="ignore", to="arrow"), "time"),
    "ohlc of one": lambda a: _once(_sql(a, f"FROM ohlc WHERE pair = '{a.pair}' AND timeframe = '1m'"), "time"),
    "query vwap": lambda a: a.bars(
        _sql(
            a, catalogue.question("vwap").text, **dict[str, Any](catalogue.question("vwap").bound({"pair": a.pair}))
        ).slice(0, 0)
    ),
    "export": lambda a: a.rows(*a.archive.batches(a.pair, on_gap="ignore", to="arrow", decimals=True, check=True)),
}
OF_ALL: Final[Mapping[str, Callable[[Asking], None]]] = {
    "trades": lambda a: a.summed(_sql(a, f"{SUMS} trades GROUP BY pair".replace("SELECT", "SELECT pair,"))),
    "coverage()": lambda a: _spans(a, a.archive.coverage(to="arrow")),
    "gaps()": lambda a: _spans(a, a.archive.gaps(to="arrow")),
    "certificates()": lambda a: _days(a, a.archive.certificates(to="arrow")),
    "events()": lambda a: _once(a.archive.events(to="arrow"), "time", "kind", "pair", "detail"),
    "instruments": lambda a: _once(_sql(a, "FROM instruments"), "pair", "valid_from"),
    "ohlc": lambda a: _once(_sql(a, "FROM stored_ohlc()"), "pair", "timeframe", "time", "seen"),
}


def _status(asking: Asking, excuse: Callable[[str], bool]) -> None:
    """Ask as ``recorder status`` does: a pair with a sound account has as many rows as ids."""
    found = archive_status.everything(asking.data)
    for said in found.damaged:
        if not excuse(said):
            raise Wrong(f"status says {said}")
    for one in found.pairs:
        made = asking.made()[one.pair]
        missing = sum(len(gap.span) for gap in one.holes)
        if one.last_id not in made or one.rows != one.last_id - one.first_id + 1 - missing:
            raise Wrong(f"status says {one}")


def _gaps(asking: Asking, excuse: Callable[[str], bool]) -> None:
    """Ask as ``recorder gaps`` does."""
    damaged: dict[str, str] = {}
    for pair, found in missing_ids.read(asking.data, damaged).items():
        if any(gap.span.last not in asking.made()[pair] for gap in found):
            raise Wrong(f"gaps of {pair}: {found}")
    for said in damaged.values():
        if not excuse(said):
            raise Wrong(f"gaps says {said}")


def verified(data: Path) -> list[str]:
    """Return what ``recorder verify`` finds wrong with files, each with its remedy."""
    layout = Layout(data)
    told = stored_evidence.read(layout)
    found = [
        one for each in certificates.certify(layout, layout.pairs(), told, now_us=_now_us()) for one in each.findings
    ]
    found += certificates.other_findings(layout)
    return [f"{one.file} {one.problem}: {one.remedy}" for one in found]


def _verify(asking: Asking, excuse: Callable[[str], bool]) -> None:
    for said in verified(asking.data):
        if not excuse(said):
            raise Wrong(f"verify says {said}")


def _doctor(asking: Asking, excuse: Callable[[str], bool]) -> None:
    for one in doctor.archive(Layout(asking.data), now_us=_now_us()):
        if one.level == "wrong" and not excuse(f"{one.says}: {one.remedy}"):
            raise Wrong(f"doctor says {one}")


def _now_us() -> int:
    return SystemClock().wall_ns() // 1000


OF_DISK: Final[Mapping[str, Callable[[Asking, Callable[[str], bool]], None]]] = {
    "status": _status,
    "gaps": _gaps,
    "verify": _verify,
    "doctor": _doctor,
}
MODES: Final[Sequence[Mapping[str, bool]]] = ({}, {}, {"live": True}, {"frozen": True}, {"check": True})


class Readers:
    """Asks question after question of an archive, and keeps count. For one thread."""

    def __init__(self, data: Path, truth: Truth, pairs: Sequence[str], random: Random) -> None:
        self._data, self._truth, self._pairs, self._random = data, truth, pairs, random
        self.harms: list[Harm] = []
        self.asked: Counter[str] = Counter()
        self.told: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.stopped = threading.Event()
        self._opened: dict[str, Archive] = {}

    def run(self) -> None:
        """Ask until stopped."""
        while not self.stopped.is_set():
            self.once()

    def forget(self) -> None:
        """Forget harm that was put right before any question that is still asked."""
        healed = time.monotonic() - 30
        self.harms = [one for one in self.harms if one.healed_s is None or one.healed_s > healed]

    def once(self) -> None:
        """Ask one question, by chance."""
        doors = [*OF_A_PAIR, *OF_A_PAIR, *OF_ALL, *OF_DISK]
        self.ask(self._random.choice(doors), self._random.choice(self._pairs), self._random.choice(MODES))

    def everything(self, *modes: Mapping[str, bool]) -> None:
        """Ask each question once, of each pair."""
        for mode in modes or ({},):
            for door in (*OF_ALL, *(OF_DISK if mode == {} else ())):
                self.ask(door, self._pairs[0], mode)
            for pair in self._pairs:
                for door in OF_A_PAIR:
                    self.ask(door, pair, mode)

    def ask(self, door: str, pair: str, mode: Mapping[str, bool]) -> None:
        """Ask one question, and judge what comes of it."""
        began_s = time.monotonic()
        self.asked[door] += 1
        try:
            asking = Asking(self._archive(mode), self._data, pair, self._truth.now)
            if door in OF_DISK:
                OF_DISK[door](asking, lambda said: self._excused(said, None, began_s))
            else:
                (OF_A_PAIR.get(door) or OF_ALL[door])(asking)
        except Wrong as error:
            if not self._unseen(door, pair, mode, began_s):
                self._accuse(door, pair, mode, error)
        except RecorderError as error:
            if self._excused(str(error), pair if door in OF_A_PAIR else None, began_s):
                self.told[door] += 1
            else:
                self._accuse(door, pair, mode, error)
        except Exception as error:  # noqa: BLE001 -- any other is no sentence
            self._accuse(door, pair, mode, error)

    def _archive(self, mode: Mapping[str, bool]) -> Archive:
        kind = repr(mode)
        anew = mode.get("frozen") or self._random.random() < 0.1
        if anew and (before := self._opened.pop(kind, None)) is not None:
            before.close()
        if kind not in self._opened:
            kinds = {name: mode.get(name, False) for name in ("live", "frozen", "check")}
            self._opened[kind] = recorder.connect(
                self._data, live=kinds["live"], frozen=kinds["frozen"], check=kinds["check"]
            )
        return self._opened[kind]

    def _accuse(self, door: str, pair: str, mode: Mapping[str, bool], error: Exception) -> None:
        harms = [(one.kind, sorted(one.pairs) or one.table) for one in self.harms if one.healed_s is None]
        self.wrong.append(f"{door} of {pair} {dict(mode)} amid {harms}: {type(error).__name__}: {error}")

    def _live(self, began_s: float) -> list[Harm]:
        return [one for one in list(self.harms) if one.healed_s is None or one.healed_s >= began_s]

    def _excused(self, said: str, pair: str | None, began_s: float) -> bool:
        """Return whether a sentence names what may be wrong: a file of the harmed pair, or of a harmed table."""
        if "holds no candles" in said:  # a file of candles that was moved out, as is said, is not fetched again
            return True
        for harm in self._live(began_s):
            if harm.table != "trades":
                folders = [f"{self._data}/{harm.table}"]
            elif pair is None or pair in harm.pairs:
                folders = [str(Layout(self._data).pair_dir(one)) for one in harm.pairs]
                folders += [folder.lower() for folder in folders]
            else:
                continue
            if any(folder.lower() in said.lower() for folder in folders):
                return True
            if harm.table == "trades" and any(f"no trades of '{one}'" in said for one in harm.pairs):
                return True  # all of its files are elsewhere
        return False

    def _unseen(self, door: str, pair: str, mode: Mapping[str, bool], began_s: float) -> bool:
        """Return whether a wrong answer is one that only those questions see that compare bytes."""
        if mode.get("check") or door in {"export", "trades(hashed)", *OF_DISK}:
            return False
        return any(one.unseen and (pair in one.pairs or door in OF_ALL or not one.pairs) for one in self._live(began_s))


# ------------------------------------------------------------------------------------------------ rounds


class Chaos:
    """Harm to one archive, round after round, and its end."""

    def __init__(self, data: Path, aside: Path, pairs: Sequence[str], random: Random, *, denied: bool = False) -> None:
        aside.mkdir(exist_ok=True)
        self.data, self.pairs, self.random = data, pairs, random
        self.keeper = Keeper(data, aside)
        self.done: Counter[str] = Counter()
        self.of_pairs = [*OF_PAIRS, *(DENIED if denied else ())]
        self.of_tables = [*OF_TABLES, *(DENIED if denied else ())]

    def harm_pair(self, pair: str, other: str, doing: Doing | None = None) -> Harm | None:
        """Harm a file of a pair; None where a compaction came between."""
        files = Layout(self.data).trade_files(pair)
        return self._harm(doing or self.random.choice(self.of_pairs), files, pair, other, "trades")

    def harm_table(self, table: str, doing: Doing | None = None) -> Harm | None:
        """Harm a file of a table without ids."""
        files = [path for path in (self.data / table).rglob("*.parquet") if path.name != SCHEMA_FILE]
        return self._harm(doing or self.random.choice(self.of_tables), sorted(files), "", "", table)

    def _harm(self, doing: Doing, files: Sequence[Path], pair: str, other: str, table: str) -> Harm | None:
        files = [path for path in files if path.is_file()]
        if not files:
            return None
        path = self.random.choice(files)
        try:
            self.keeper.back_up(path)
            harm = doing(Place(self.data, path, pair, other, table, self.random))
        except (FileNotFoundError, FileExistsError, StopIteration):
            return None
        self.done[f"{table if table != 'trades' else 'pair'}: {harm.kind}"] += 1
        return harm

    def mend(self) -> int:
        """Do what sentences say, each file once; return how many there were."""
        said = list(dict.fromkeys([*complaints(self.data), *verified(self.data)]))
        met: set[str] = set()
        for sentence in said:
            file = next(iter(_files_in(sentence, self.data)), "")
            if file not in met:
                met.add(file)
                self.keeper.follow(sentence)
        return len(said)


def rows(data: Path) -> Any:
    """Return all trades archived."""
    layout = Layout(data)
    return [trade for pair in layout.pairs() for trade in read_trades.trades(layout, pair)]
