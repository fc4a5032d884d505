"""generate_package_invoices: one invoice for each billing period of an engagement with a package fee.

What can go wrong: A client is billed twice for the same days. A period whose invoice was cancelled by hand is billed
again. An amount that its currency or the application's columns cannot express is rounded on the way. A mistyped setting
or date issues thousands of invoices, and with autopay the money is collected from the clients' cards.

The principle: An invoice is identified by its engagement and the first day of its period, which the application holds
unique. The plan looks at every invoice that the engagement has, also at those whose days merely overlap. Amounts are
whole minor units from the fee to the column. What is due follows from the firm's day, not from the last run, so that a
run that did not happen loses nothing.

Transactions: Engagements are read per tenant, and the plan is compared with two caps (invoices, and money per currency).
Then each batch of invoices is one transaction. A batch that the database refuses is halved until the refused invoice
stands alone. The INSERT leaves out what was invoiced, ended or moved to another firm since the plan.

Read in this order:

- `plan.py`: which engagement is billed for which period, how much, and why not (`NotInvoiced`).
- `billing_periods.py`: the calendar of months, quarters and years, and how an engagement clips it.
- `job.py`: reading, caps and inserting (`include/sql/finance/packages.sql`).
"""
