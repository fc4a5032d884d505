"""Finance: what clients are billed, what they paid, and the views that report it.

`packages` issues the invoices of package fees, `charges` collects what is due, `reconciliation` compares the books with
Stripe's, `views` refreshes what reports read. They share caps on money (`caps.py`); what they know of each other is in the
application's tables.
"""
