"""The life of a one-time wallet: a payment gets one, customers pay into it, and its money goes to the receiver.

What can go wrong: the money is other people's, a transfer cannot be called back, and only the chain knows whether it
happened. The application may move the same money at the same moment. A node may lag or forget. A worker may be killed
between any two steps.

The principle: the chain decides, never an answer to a request and never our clock. A payment expires only when the chain's
own time is past its expiry and no history shows it paid. A transaction is committed with its bytes before it is sent, and
none of its wallets is signed for again until the chain has taken or outlived it. What is in doubt stays where it is.

The database's transactions, in their order: reading, accepting and expiring with events and findings (apply), one for each
wave of signed transactions (claims), one for what became of them (sending), the wallets' last states (apply), findings (reports).

Read in this order:

- wallets, verdicts, cases: a wallet's rows, what it holds, and everything that is known of it. Then moves, what it gives.
- survey: what a run looks at. It asks chain (accounts), history (who paid, and when) and departed (money that has left).
- plan: the decisions. It uses obstacles (what cannot be moved) and findings (the words), and gives actions.
- wallet_job, job: the run, and which wallets each of the four commands looks at. Then apply, what is done to the rows.
- sweeping: the passes. It uses packing, instructions, claims, signing (checks every byte), sending, second_look, accounting.
- configuration, keys, rpc: the connection, the keys, and the node as this package sees it.
"""
