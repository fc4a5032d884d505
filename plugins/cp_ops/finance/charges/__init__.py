"""process_recurring_charges: charge due invoices to the payment methods that clients have stored for it.

What can go wrong: a client is charged twice. A worker dies, or the connection breaks, when Stripe has the request and its
answer is not written down; the client pays by other means meanwhile; a declined payment is still open at Stripe when the
next one is made; two runs work at once.

The principle: intent, effect, result. An attempt is a row of cp_ops.charge_intent, committed before Stripe is called. Its
key is made of invoice and attempt, so that a request without an answer can be repeated under the same key, which tells
its result for as long as Stripe remembers the key. It is never sent under a new key. An invoice has one attempt that is not settled at most: an index of the
database sees to that, whatever the leases do.

The transactions of one charge: `planned` (all of a run in one), `submitting` (the claim, under the invoice's lock), then
Stripe without a transaction, then the booking: attempt, invoice, payment, failure, mail and audit event in one. Stripe is
never called while a transaction is open.

Read in this order:
    plan.py           who is charged, how much, with which payment method (pure); retries.py: what follows a failure
    charging.py       one new charge: look at Stripe, claim, ask, book; preconditions.py: what must be so at Stripe
    unfinished.py     what became of the attempts of earlier runs
    attempts.py       the steps that both take; intents.py: the row, the request, how it is found again
    answers.py        what Stripe's words mean; booking.py: what is written; mails.py: what the client reads
    job.py            the run; anomaly.py: the cap by what is usual
"""
