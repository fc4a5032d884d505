"""Stripe's objects, page by page into temporary tables, at constant memory; what the pages lack, one by one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Protocol

from cp_ops.runtime.errors import ImplausibleError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cp_ops.runtime.job import JobRun

Document = dict[str, Any]
INVOICE_EXPAND = ("payments", "amount_paid_off_stripe")
"""What Stripe gives of an invoice only when asked; the amount since API version 2026-05-27.dahlia
(docs.stripe.com/changelog/dahlia/2026-05-27/invoice-object-amount-paid-off-stripe-property)."""
LIST_INVOICE_EXPAND = [f"data.{member}" for member in INVOICE_EXPAND]
PAYMENT_EXPAND = ("latest_charge",)
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
LISTED = {"invoice": "invoices", "payment_intent": "payment_intents"}
"""The lists by the kind of object."""
EVENT_DAYS = 30
"""How long Stripe keeps events (docs.stripe.com/api/events)."""
MIN_MISSING_TO_DOUBT = 20
"""From this many missing objects on, too large a share of them is not believed."""
CHUNK = 500


class StripeReader(Protocol):
    """What reading Stripe takes. A list that broke off raises; it is never a short list."""

    calls: int

    def pages(self, resource: str, **filters: Any) -> Iterator[list[Document]]:
        """Give a list's pages, newest first."""
        ...

    def get(self, resource: str, object_id: str, *, expand: tuple[str, ...] = ()) -> Document | None:
        """Give one object, or None where there is none."""
        ...


class StripeListing:
    """Fills the temporary tables ``stripe_invoice``, ``stripe_payment``, ``stripe_link`` and ``stripe_dispute``."""

    def __init__(self, run: JobRun, stripe: StripeReader) -> None:
        self._run = run
        self._stripe = stripe
        self.listed = {"invoices": 0, "payment_intents": 0}
        self.pages = 0
        self.single_fetches = 0
        self.not_found = 0

    def take(self, since: int | None) -> None:
        """List invoices, payment intents and disputes: those created since, and older invoices that are open.

        :param since: Unix seconds; None for everything.
        """
        window = {"created": {"gte": since}} if since else {}
        self._invoices(self._stripe.pages("invoices", expand=LIST_INVOICE_EXPAND, **window))
        if since:
            older = {"created": {"lt": since}, "status": "open"}
            self._invoices(self._stripe.pages("invoices", expand=LIST_INVOICE_EXPAND, **older))
        for page in self._stripe.pages("payment_intents", expand=["data.latest_charge"], **window):
            self._page("payment_intents", page)
            self._copy("copy_stripe_payments", map(payment_row, page))
        for page in self._stripe.pages("disputes"):
            self._page("disputes", page)
            self._copy("copy_stripe_disputes", dispute_rows(page))

    def follow_events(self, since: int, *, listed_since: int) -> set[str]:
        """Fetch what events say has changed of objects that are older than the listing, and that could be ours.

        Those whose metadata names an invoice of ours are fetched, as are payments that were refunded or disputed, with
        their Stripe invoices: an event of a refund names neither. Others matter only where an invoice refers to them.

        :param since: Unix seconds of the oldest event.
        :param listed_since: objects created since then were listed, and need no fetch.
        :return: the ids of all that changed.
        """
        changed: set[str] = set()
        ours: dict[str, set[str]] = {"invoices": set(), "payment_intents": set()}
        for page in self._stripe.pages("events", types=CHANGES, created={"gte": since}):
            self._page("events", page)
            for subject in (event["data"]["object"] for event in page):
                resource = LISTED.get(subject["object"])
                if resource is None and subject.get("payment_intent"):
                    ours["payment_intents"].add(str(subject["payment_intent"]))
                elif resource and subject["created"] < listed_since:
                    changed.add(str(subject["id"]))
                    if _names_ours(subject) != (None, None):
                        ours[resource].add(str(subject["id"]))
        payments = self._unlisted(ours["payment_intents"])
        self.fetch("payment_intents", payments, allowance=0)
        ours["invoices"].update(invoice for payment in payments for invoice in self._invoices_of(payment))
        self.fetch("invoices", self._unlisted(ours["invoices"]), allowance=0)
        return changed.union(payments, ours["invoices"])

    def _unlisted(self, ids: Iterable[str]) -> list[str]:
        with self._run.read() as tx:
            return [row["id"] for row in tx.rows("unlisted_objects", ids=sorted(ids))]

    def _invoices_of(self, payment: str) -> Iterator[str]:
        """Give the Stripe invoices that a payment intent is to pay; the payment intent does not name them."""
        about = {"type": "payment_intent", "payment_intent": payment}
        for page in self._stripe.pages("invoice_payments", payment=about):
            self._page("invoice_payments", page)
            yield from (str(found["invoice"]) for found in page if found["status"] != "canceled")

    def fetch(self, resource: str, ids: Iterable[str], *, allowance: int) -> None:
        """Fetch objects one by one, in place of what is known of them.

        :param allowance: how many may be missing before Stripe's answers are not believed.
        :raises ImplausibleError: when more are.
        """
        chunk: list[Document] = []
        expand = INVOICE_EXPAND if resource == "invoices" else PAYMENT_EXPAND
        for object_id in ids:
            found = self._stripe.get(resource, object_id, expand=expand)
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
        self.not_found += 1
        if self.not_found > max(MIN_MISSING_TO_DOUBT, allowance):
            raise ImplausibleError(
                f"Stripe does not know {self.not_found} of the objects that invoices refer to: nothing was concluded. "
                "Check that connection stripe_default holds a key of the right account and mode (test or live); if they "
                "are really gone, raise [cp_ops] stripe_max_missing_share for one run"
            )

    def _invoices(self, pages: Iterable[list[Document]]) -> None:
        for page in pages:
            self._page("invoices", page)
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
            for page in self._stripe.pages("invoice_payments", invoice=invoice["id"]):
                self._page("invoice_payments", page)
                yield from (link_row(payment) for payment in page if payment["id"] not in known)

    def _replace(self, resource: str, objects: Sequence[Document]) -> None:
        if not objects:
            return
        ids = [found["id"] for found in objects]
        with self._run.read() as tx:
            tx.execute("forget_stripe_objects", ids=ids)
        if resource == "invoices":
            self._take_invoices(objects)
        else:
            self._copy("copy_stripe_payments", map(payment_row, objects))

    def _page(self, resource: str, page: Sequence[Document]) -> None:
        self.pages += 1
        if resource in self.listed:
            self.listed[resource] += len(page)
            if self.pages % 10 == 1:
                self._run.progress(f"{self.listed[resource]} {resource} listed")

    def _copy(self, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
        staged = list(rows)
        with self._run.read() as tx:
            tx.copy(statement, staged)


def invoice_row(invoice: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what is staged of a Stripe invoice."""
    return (
        invoice["id"],
        invoice["status"],
        invoice["currency"],
        invoice["total"],
        invoice.get("amount_paid_off_stripe") or 0,
        invoice["status_transitions"]["paid_at"],
        *_names_ours(invoice),
    )


def payment_row(payment: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what is staged of a payment intent and its latest charge; a charge's time is the payment's time."""
    charge = payment.get("latest_charge") or {}
    moved = payment["status"] == "succeeded"
    details = charge.get("payment_method_details") or {}
    return (
        payment["id"],
        payment["status"],
        payment["currency"],
        payment["amount"],
        payment["amount_received"],
        charge.get("amount_refunded") or 0,
        charge.get("created") if moved else None,
        bool(details) and details.get("type") not in (None, "card", "card_present", "link"),
        *_names_ours(payment),
    )


def link_row(payment: Mapping[str, Any]) -> tuple[Any, ...]:
    """Give what is staged of an invoice payment.

    A payment record tells of money that did not come through Stripe, and is in the invoice's `amount_paid_off_stripe`.
    """
    paid = payment["payment"]
    amount = 0 if paid["type"] == "payment_record" else payment.get("amount_paid") or 0
    return (payment["id"], payment["invoice"], paid.get("payment_intent"), amount, payment["status"])


def dispute_rows(disputes: Iterable[Mapping[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Give what is staged of disputes that are about a payment intent."""
    for dispute in disputes:
        if dispute.get("payment_intent"):
            yield (dispute["id"], dispute["payment_intent"], dispute["status"])


_NUMBER = re.compile(r"[1-9][0-9]{0,17}")


def _names_ours(thing: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Read firm and invoice from an object's metadata; None unless both are ids."""
    metadata = thing.get("metadata") or {}
    firm, invoice = (str(metadata.get(name, "")) for name in ("firm_id", "invoice_id"))
    if _NUMBER.fullmatch(firm) and _NUMBER.fullmatch(invoice):
        return int(firm), int(invoice)
    return None, None
