"""generate_package_invoices: one invoice for each billing period of an engagement with a package fee.

What can go wrong: a client is billed twice for the same days; a period that was cancelled by hand is billed again; an
amount that its currency or the application's columns cannot express is rounded on the way; a mistyped setting or date
issues thousands of invoices, and with autopay the money is collected from the clients' cards.

The principle: an invoice is identified by its engagement and the first day of its period. The application's unique index
holds that, and the plan looks at every invoice of the engagement before, also at those whose days merely overlap. Amounts
are whole minor units from the fee to the column. What is due follows from the firm's day, not from the last run, so that
a run that did not happen loses nothing.

Transactions: engagements are read per tenant, the plan is made and compared with two caps (invoices, and money per
currency). Then each batch of invoices is one transaction. A batch that the database refuses is halved until the refused
invoice stands alone. The INSERT leaves out what was invoiced, ended or moved to another firm since the plan.

Read in this order:

- `plan.py`: which engagement is billed for which period, how much, and why not (`NotInvoiced`).
- `billing_periods.py`: the calendar: months, quarters, years, and their clipping to the engagement.
- `job.py`: reading, caps and inserting (`include/sql/finance/packages.sql`).
"""
