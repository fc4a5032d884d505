"""reconcile_stripe: every invoice that refers to Stripe is compared with Stripe, both ways, and differences are findings.

What can go wrong: A list that breaks off half-way looks like invoices that Stripe lost, and so does a key of another
account. Stripe is asked first, so that a webhook may change the invoice here before it is compared. A payment that
nothing here refers to stays unseen. Amounts are compared in the wrong unit, and days on the wrong calendar.

The principle: This job changes neither side. It concludes only from complete answers, and every invoice gets exactly one
verdict (`tally.py` asserts the sum). An invoice that differs and was changed since the run began is "moving", of which
nothing is concluded before the next run. Amounts are exact, in minor units of the invoice's currency.

Transactions: Stripe's objects are staged page by page in temporary tables, so that memory does not grow. Each tenant's
invoices are compared in one snapshot. The findings of each tenant are settled in one writing transaction, at the end.

Why an invoice is a mismatch stands in `plan.py`, and in `paid_date.py` for its paid date. The rest, in this order:

- `kinds.py`: the table of finding kinds, each with its severity and what a person can do.
- `invoices.py`: the two sides that are compared, and their amounts.
- `tally.py`: one verdict per invoice, and the findings.
- `listing.py`: what is asked of Stripe. `staged.py`: what is kept of its answers.
- `job.py`: the order of it all (`include/sql/finance/reconciliation.sql`).
"""
