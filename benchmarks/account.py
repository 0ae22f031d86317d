"""Read an account of 20,000 ledger entries and 5,000 trades through lag, kills and throttling: nothing may be missing.

A process reads an invented account in virtual time, and is killed (SIGKILL) at random moments until it has ended by
itself; then what is on disk is compared with the account, and one entry is removed at the exchange and must be named::

    python -m benchmarks.account [--entries 20000] [--trades 5000] [--seed 1]
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import resource
import shutil
import tempfile
import time
from pathlib import Path
from random import Random

from recorder.archive import account_certificate, account_rows
from recorder.archive.account_tables import ORDERS, TRADES
from recorder.sandbox.private_account import PrivateAccount
from recorder.sandbox.private_rest import Counter
from tests.accounts import Bench, invented

LATE_NS = 20 * 3600 * 10**9
SHORTEST_S, LONGEST_S = 0.3, 2.5
"""How long a process lives before it is killed."""


def account_of(entries: int, trades: int, seed: int) -> PrivateAccount:
    """Return the same account in every process."""
    others = -(-(entries - 2 * trades) * 12 // 13) + 1  # a reversed withdrawal, one kind of twelve, makes two entries
    return invented(trades=trades, others=others, days=700, late_ns=LATE_NS, seed=seed)


def bench_of(folder: Path, entries: int, trades: int, seed: int) -> Bench:
    """Return the account with a counter that is smaller than the tier's, so that it is throttled at times."""
    bench = Bench(folder, account_of(entries, trades, seed), tier="intermediate")
    bench.rest.counter = Counter(most=12.0, per_s=0.45)
    return bench


def read_once(folder: Path, begun: int, entries: int, trades: int, seed: int) -> None:
    """Read everything, as the next of so many processes; append each nonce to a file before it is answered."""
    bench = bench_of(folder, entries, trades, seed)
    bench.clock.move(begun * 600)
    with (folder / "nonces").open("a", buffering=1) as file:
        answer = bench.rest.answer

        def noted(method: str, headers: dict[str, str], body: str, *, now_ns: int) -> str:
            content = answer(method, headers, body, now_ns=now_ns)
            throttled = " throttled" if "Rate limit exceeded" in content else ""
            file.write(body.partition("&")[0].removeprefix("nonce=") + f"{throttled}\n")
            return content

        bench.rest.answer = noted  # type: ignore[assignment,method-assign]
        asyncio.run(bench.round())
        bench.clock.move(2 * 86_400)
        asyncio.run(bench.round())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=20_000)
    parser.add_argument("--trades", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    random, began_s = Random(chosen.seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="account-"))
    size = (chosen.entries, chosen.trades, chosen.seed)
    try:
        kills = 0
        while True:
            process = multiprocessing.Process(target=read_once, args=(folder, kills, *size))
            process.start()
            process.join(random.uniform(SHORTEST_S, LONGEST_S) if kills < 40 else None)
            if process.exitcode is not None:
                break
            process.kill()
            process.join()
            kills += 1
        assert process.exitcode == 0, process.exitcode
        cpu_s = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
        report(folder, account_of(*size), kills)
        name_the_removed(folder, *size)
        print(f"{kills} kills, {cpu_s:.1f} s of CPU, {time.monotonic() - began_s:.0f} s")
    finally:
        shutil.rmtree(folder)


def report(folder: Path, account: PrivateAccount, kills: int) -> None:
    """Compare what is stored with the account, and print what is lost, doubled and refused."""
    layout = account_rows.existing(folder / "account")
    print(account_certificate.sentences(found := account_certificate.certificate(layout))[0])
    assert found.is_reconciled, "not reconciled"
    entries = [entry.id for entry in account_rows.entries(layout)]
    for what, stored, made in (
        ("ledger entries", entries, {row.id for row in account.rows}),
        ("trades", ids(layout, TRADES), {row.id for row in account.trades}),
        ("orders", ids(layout, ORDERS), {row.order for row in account.trades}),
    ):
        lost, doubled, foreign = made.difference(stored), len(stored) - len(set(stored)), set(stored) - made
        print(f"{len(made):,} {what}: {len(lost)} lost, {doubled} doubled, {len(foreign)} of no one")
        assert (len(lost), doubled, len(foreign)) == (0, 0, 0), what
    lines = (folder / "nonces").read_text().splitlines()
    nonces = [int(line.split()[0]) for line in lines]
    assert nonces == sorted(set(nonces)), "a nonce was reused, or went back"
    refused = sum("throttled" in line for line in lines)
    print(f"{len(nonces):,} requests of {kills + 1} processes, no nonce twice, {refused} throttled")


def name_the_removed(folder: Path, entries: int, trades: int, seed: int) -> None:
    """Let the exchange remove one entry from the beginning on, and read everything again elsewhere."""
    bench = bench_of(folder / "removed", entries, trades, seed)
    bench.rest.counter = None
    gone = bench.rest.account.trades[trades // 2].ledgers[1]
    bench.rest.account.removed.add(gone)
    found = asyncio.run(bench.round())
    lines = [line for line in account_certificate.sentences(found) if gone in line or "breaks at" in line]
    print("removed:", *lines, sep="\n  ")
    assert any(gone in line for line in lines), "not named"


def ids(layout: object, dataset: object) -> list[str]:
    """Return the ids stored in a table."""
    return [row["id"] for row in account_rows.rows(layout, dataset, ("id",))]  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
