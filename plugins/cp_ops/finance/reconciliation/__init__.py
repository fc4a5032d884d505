"""reconcile_stripe: every invoice that refers to Stripe is compared with Stripe, both ways; what differs is a finding.

What can go wrong: a list that breaks off half-way looks like invoices that Stripe lost; a key of another account makes all
of them "missing"; what is asked of Stripe first is older than what the application says a minute later; a payment that
nothing here refers to stays unseen; amounts are compared in the wrong unit, and days on the wrong calendar.

The principle: this job changes neither side. It concludes only from complete answers, and every invoice gets exactly one
verdict (`tally.py` asserts the sum). An invoice that differs and was changed since the run began is "moving": nothing is
concluded of it before the next run. Amounts are exact, in minor units of the invoice's currency.

Transactions: Stripe's objects are staged page by page in temporary tables, so that memory does not grow. Each tenant's
invoices are compared in one snapshot. The findings of each tenant are settled in one writing transaction, at the end.

Read in this order, the first two to learn why an invoice is a mismatch:

- `plan.py`: where Stripe stands with an invoice, which status and amounts agree with that. `paid_date.py`: which days do.
- `kinds.py`: the table of finding kinds, each with its severity and what a person can do.
- `invoices.py`: the two sides that are compared. `tally.py`: one verdict per invoice, and the findings.
- `listing.py`: what is asked of Stripe. `staged.py`: what is kept of its answers.
- `job.py`: the order of it all (`include/sql/finance/reconciliation.sql`).
"""
