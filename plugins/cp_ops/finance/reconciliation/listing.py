"""What is asked of Stripe: objects page by page into temporary tables, and one by one what the pages lack."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.finance.reconciliation.staged import dispute_rows, invoice_row, link_row, names_ours, payment_row
from cp_ops.runtime.errors import ImplausibleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cp_ops.runtime.job import JobRun

Document = dict[str, Any]


class Resource(StrEnum):
    """Stripe's lists."""

    INVOICES = "invoices"
    PAYMENT_INTENTS = "payment_intents"
    INVOICE_PAYMENTS = "invoice_payments"
    DISPUTES = "disputes"
    EVENTS = "events"


EXPAND: Mapping[Resource, tuple[str, ...]] = {
    Resource.INVOICES: ("payments", "amount_paid_off_stripe"),
    Resource.PAYMENT_INTENTS: ("latest_charge",),
}
"""What Stripe gives of an object only when asked; an invoice's amount since API version 2026-05-27.dahlia
(docs.stripe.com/changelog/dahlia/2026-05-27/invoice-object-amount-paid-off-stripe-property)."""
CHANGES = [
    "payment_intent.processing",
    "payment_intent.succeeded",
    "charge.refunded",
    "charge.refund.updated",
    "charge.dispute.created",
    "charge.dispute.closed",
    "refund.updated",
    "refund.failed",
    "invoice.paid",
    "invoice.overpaid",
    "invoice.voided",
    "invoice.marked_uncollectible",
]
"""Events that change an object older than the listing, though its invoice is settled here.

A payment intent that is open at Stripe is not listed once it is older than the window, and may be paid years later.
"""
LISTED: Mapping[str, Resource] = {
    "invoice": Resource.INVOICES,
    "payment_intent": Resource.PAYMENT_INTENTS,
}
"""The lists by the kind of object that an event is about."""
EVENT_DAYS = 30
"""How long Stripe keeps events (docs.stripe.com/api/events)."""
MIN_MISSING_TO_DOUBT = 20
"""From this many missing objects on, too large a share of them is not believed."""
CHUNK = 500
"""Objects that are fetched one by one before they are staged."""


class StripeReader(Protocol):
    """What reading Stripe takes. A list that broke off raises; it is never a short list."""

    calls: int

    def pages(self, resource: str, **filters: Any) -> Iterator[list[Document]]:
        """Give a list's pages, newest first."""
        ...

    def get(self, resource: str, object_id: str, *, expand: tuple[str, ...] = ()) -> Document | None:
        """Give one object, or None where there is none."""
        ...


@dataclass
class _Changed:
    """What events say has changed, sorted by what it may mean here.

    :param listed_since: Unix seconds; objects created since then were listed.
    :param ids: objects that are older than the listing.
    :param ours: of these, the ones whose metadata names an invoice of ours, and payment intents whose charge was
        refunded or disputed.
    """

    listed_since: int
    ids: set[str] = field(default_factory=set)
    ours: dict[Resource, set[str]] = field(
        default_factory=lambda: {Resource.INVOICES: set(), Resource.PAYMENT_INTENTS: set()}
    )

    def learn(self, subject: Document) -> None:
        """Take in the object of one event."""
        resource = LISTED.get(subject["object"])
        if resource is None:
            # A charge, a refund or a dispute has no metadata of ours: it names its payment intent at most.
            if payment := subject.get("payment_intent"):
                self.ours[Resource.PAYMENT_INTENTS].add(str(payment))
        elif subject["created"] < self.listed_since:
            self.ids.add(str(subject["id"]))
            if names_ours(subject) != (None, None):
                self.ours[resource].add(str(subject["id"]))


class StripeListing:
    """Fills the temporary tables ``stripe_invoice``, ``stripe_payment``, ``stripe_link`` and ``stripe_dispute``."""

    def __init__(self, run: JobRun, stripe: StripeReader) -> None:
        self._run = run
        self._stripe = stripe
        self.listed = {Resource.INVOICES: 0, Resource.PAYMENT_INTENTS: 0}
        self.pages = 0
        self.single_fetches = 0
        self.not_found = 0

    def take(self, since: int | None) -> None:
        """List invoices, payment intents and disputes: those created since, and older invoices that are open.

        :param since: Unix seconds; None for everything.
        """
        window = {"created": {"gte": since}} if since else {}
        self._invoices(window)
        if since:
            # However old it is, an invoice that is open at Stripe may be paid at any time.
            self._invoices({"created": {"lt": since}, "status": "open"})
        expand = _in_list(Resource.PAYMENT_INTENTS)
        for page in self._pages(Resource.PAYMENT_INTENTS, expand=expand, **window):
            self._copy("copy_stripe_payments", map(payment_row, page))
        # All disputes, however old: they name a payment that may be of any age.
        for page in self._pages(Resource.DISPUTES):
            self._copy("copy_stripe_disputes", dispute_rows(page))

    def follow_events(self, since: int, *, listed_since: int) -> set[str]:
        """Fetch what events say has changed of objects that are older than the listing, and that could be ours.

        Those whose metadata names an invoice of ours are fetched, as are payments that were refunded or disputed, with
        their Stripe invoices: an event of a refund names neither. Others matter only where an invoice refers to them.

        :param since: Unix seconds of the oldest event.
        :param listed_since: objects created since then were listed, and need no fetch.
        :return: the ids of all that changed.
        """
        changed = _Changed(listed_since)
        for page in self._pages(Resource.EVENTS, types=CHANGES, created={"gte": since}):
            for event in page:
                changed.learn(event["data"]["object"])
        # Payments first: only Stripe knows which of its invoices a refunded payment belongs to.
        payments = self._unlisted(changed.ours[Resource.PAYMENT_INTENTS])
        self.fetch(Resource.PAYMENT_INTENTS, payments, allowance=0)
        invoices = changed.ours[Resource.INVOICES]
        invoices.update(invoice for payment in payments for invoice in self._invoices_of(payment))
        self.fetch(Resource.INVOICES, self._unlisted(invoices), allowance=0)
        return changed.ids.union(payments, invoices)

    def _unlisted(self, ids: Iterable[str]) -> list[str]:
        with self._run.read() as tx:
            return [row["id"] for row in tx.rows("unlisted_objects", ids=sorted(ids))]

    def _invoices_of(self, payment: str) -> Iterator[str]:
        """Give the Stripe invoices that a payment intent is to pay; the payment intent does not name them."""
        about = {"type": "payment_intent", "payment_intent": payment}
        for page in self._pages(Resource.INVOICE_PAYMENTS, payment=about):
            yield from (str(found["invoice"]) for found in page if found["status"] != "canceled")

    def fetch(self, resource: Resource, ids: Iterable[str], *, allowance: int) -> None:
        """Fetch objects one by one, in place of what is known of them.

        :param allowance: how many may be missing before Stripe's answers are not believed.
        :raises ImplausibleError: when more are.
        """
        chunk: list[Document] = []
        for object_id in ids:
            found = self._stripe.get(resource, object_id, expand=EXPAND[resource])
            self.single_fetches += 1
            if found is None or found.get("deleted"):
                self._doubt(allowance)
            else:
                chunk.append(found)
            if len(chunk) == CHUNK:
                self._replace(resource, chunk)
                chunk = []
        self._replace(resource, chunk)

    def _doubt(self, allowance: int) -> None:
        """Count an object that Stripe does not know.

        A few were deleted by hand. Many at once mean a key of another account, or of test mode: believed, every invoice
        would become a critical finding.
        """
        self.not_found += 1
        if self.not_found > max(MIN_MISSING_TO_DOUBT, allowance):
            raise ImplausibleError(
                f"Stripe does not know {self.not_found} of the objects that invoices refer to: nothing was concluded. "
                "Check that connection stripe_default holds a key of the right account and mode (test or live); if they "
                "are really gone, raise [cp_ops] stripe_max_missing_share for one run"
            )

    def _invoices(self, filters: Mapping[str, Any]) -> None:
        for page in self._pages(Resource.INVOICES, expand=_in_list(Resource.INVOICES), **filters):
            self._take_invoices(page)

    def _take_invoices(self, invoices: Sequence[Document]) -> None:
        self._copy("copy_stripe_invoices", map(invoice_row, invoices))
        self._copy("copy_stripe_links", (row for invoice in invoices for row in self._links(invoice)))

    def _links(self, invoice: Document) -> Iterator[tuple[Any, ...]]:
        """Give an invoice's payments; an inlined list holds the first few only, the rest is paged."""
        inlined = invoice.get("payments") or {"data": [], "has_more": False}
        yield from map(link_row, inlined["data"])
        if inlined["has_more"]:
            known = {payment["id"] for payment in inlined["data"]}
            for page in self._pages(Resource.INVOICE_PAYMENTS, invoice=invoice["id"]):
                yield from (link_row(payment) for payment in page if payment["id"] not in known)

    def _replace(self, resource: Resource, objects: Sequence[Document]) -> None:
        if not objects:
            return
        # A page may have shown the object in an earlier state: what was fetched last counts.
        ids = [found["id"] for found in objects]
        with self._run.read() as tx:
            tx.execute("forget_stripe_objects", ids=ids)
        if resource is Resource.INVOICES:
            self._take_invoices(objects)
        else:
            self._copy("copy_stripe_payments", map(payment_row, objects))

    def _pages(self, resource: Resource, **filters: Any) -> Iterator[list[Document]]:
        """Give a list's pages, and count them."""
        for page in self._stripe.pages(resource, **filters):
            self.pages += 1
            if resource in self.listed:
                self.listed[resource] += len(page)
                if self.pages % 10 == 1:
                    self._run.progress(f"{self.listed[resource]} {resource} listed")
            yield page

    def _copy(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        # First the rows: a nested list is paged while they are read, and no transaction waits for Stripe.
        staged = list(rows)
        with self._run.read() as tx:
            tx.copy(statement, staged)


def _in_list(resource: Resource) -> list[str]:
    """Give what to expand of every object of a list."""
    return [f"data.{member}" for member in EXPAND[resource]]
