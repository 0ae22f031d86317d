"""The certificate of a stored account: reads what is on disk, and nothing from memory."""

from __future__ import annotations

from typing import Any

from recorder.archive import account_rows
from recorder.archive.layout import Layout
from recorder.core.account import AccountEvent
from recorder.core.account_trail import AccountCertificate, certify


def certificate(layout: Layout) -> AccountCertificate:
    """Return the certificate of the account. Raises UnsoundFile, UnreadableFile."""
    key = last_key(layout)
    return certify(
        account_rows.entries(layout),
        account_rows.settled_balances(layout),
        named=account_rows.named_entries(layout),
        is_cut=bool(key.get("cut")),
        apart=len(account_rows.apart(layout)),
    )


def last_key(layout: Layout) -> dict[str, Any]:
    """Return what was recorded last of the key; empty if nothing was."""
    keys = [row for row in account_rows.events(layout, AccountEvent.KEY) if not row.get("same")]
    return keys[-1] if keys else {}


def sentences(found: AccountCertificate) -> list[str]:
    """Return the sentences that describe a certificate, the verdict first."""
    entries = sum(trail.entries for trail in found.trails)
    lines = [f"{entries:,} ledger entries of {len(found.trails)} assets"]
    if found.is_reconciled:
        lines[0] = f"reconciled: {lines[0]} explain every balance to the last digit"
    elif found.ends is None and not found.breaks and not found.absent:
        lines[0] = f"open: {lines[0]} form unbroken trails, but no balances are known that no entry came after"
    else:
        lines[0] = f"not reconciled: {lines[0]}"
    lines += [one.sentence for one in found.breaks]
    lines += [f"trade {trade} names ledger entry {entry}, which is not there" for trade, entry in found.absent]
    lines += [f"{trail.asset} goes on from {', '.join(trail.joined)}, by the table of renames" for trail in found.trails
             if trail.joined]  # fmt: skip
    if found.apart:
        lines.append(f"{found.apart} entries without an id or a balance, or unreadable, are kept apart")
    return lines
