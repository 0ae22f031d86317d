"""What tests inject into a sandbox: malformed rows, faults of books, odd listings, and refusals of subscriptions."""

from __future__ import annotations

from recorder.clock import Clock
from recorder.sandbox.fault_injection.book_faults import BookFaults
from recorder.sandbox.fault_injection.listing_faults import ListingFaults
from recorder.sandbox.fault_injection.row_faults import RowFaults
from recorder.sandbox.fault_injection.subscription_faults import SubscriptionFaults


class InjectedFaults:
    """All of these faults of one sandbox. They last until released."""

    def __init__(self, clock: Clock) -> None:
        self.rows = RowFaults()
        """Malformed rows, wherever they are sent."""
        self.books = BookFaults()
        """Faults of books."""
        self.quirks = ListingFaults()
        """Unusual content in valid answers."""
        self.entry = SubscriptionFaults(clock)
        """Refused subscriptions other than by name, and the form of the refusals."""

    def release(self) -> None:
        """Stop all of them."""
        self.rows.release()
        self.books.release()
        self.quirks.release()
        self.entry.release()
