"""Tell others of accepted and expired payments: Airflow asset events, and a signed webhook where one is defined.

What can go wrong: a receiver that is not told delivers nothing to somebody who has paid. The payment module sends Django
signals inside its own process, which no other process hears.

The principle: an event is a row that commits with its payment (`cp_ops.solana_payment_event`, one per payment and kind), and
it is told at least once. A receiver that is told twice knows the event by its id. Only Airflow's own record proves that an
asset event was registered, so an event counts as announced when a later run finds it there.

The transactions, in their order: reading, noting what Airflow has registered, claiming deliveries, one for each delivery.
`webhook.POLICY` says how often a delivery is tried and when it is given up. runtime/deliveries.py has the sequence.

Read events, plan, job, webhook.
"""
