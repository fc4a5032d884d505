"""The life of a one-time wallet: a payment gets one, customers pay into it, and its money goes to the receiver.

What can go wrong: the money is other people's, a transfer cannot be called back, and nobody but the chain knows whether
it happened. The application may move the same money at the same moment, a node may lag or forget, a worker may be killed
between any two steps.

The principle: the chain decides, never an answer to a request and never our clock. A payment expires only when the chain's
own time is past its expiry and no history shows it paid. A transaction is committed with its bytes before it is sent, and
none of its wallets is signed for again until the chain has taken or outlived it. What is in doubt stays where it is.

Transactions of the database: reading; accepting and expiring, with events and findings (apply); one per wave of signed
transactions (claims); one per record of what became of them (sending); the wallets' last states (apply); findings (reports).

Read in this order:

- wallets, cases: a wallet's rows, what it holds, and everything that is known of it. moves: what it gives.
- survey: what a run looks at before it decides, with chain (accounts), history (who paid, and when: verdicts) and departed (money that
  is gone already).
- plan: the decisions, with obstacles (what cannot be moved) and findings (their words); actions is its result.
- wallet_job, job: the run, and which wallets each of the four commands looks at. apply: what is done to the rows.
- sweeping: the passes, with packing, instructions, claims, signing (checks every byte), sending, second_look, accounting.
- configuration, keys, rpc: the connection, the keys, and the node as this package sees it.
"""
