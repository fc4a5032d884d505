"""Erasing a person for good, once a request for it is approved.

What can go wrong? A trace of the person stays. Somebody else is erased with them. What the law makes the firm keep is
lost. Or a run dies half way, and nobody can tell any more whom the other half of the rows is about.

The principle: the person's own rows go last, in one transaction with what says that all is done. As long as they are
there, the next run finds everything again. Before them the firm is searched for what identifies the person, and while
anything is found the request stays open. Only what a person has approved is erased. A new
run proves that by the plan's hash. A resumed run, whose plan is smaller, proves it by the approved rows.

Transactions: the preview is one snapshot. Each stored document is a transaction that locks its row, as a legal hold may
come at any time. What hangs on the person goes in batches with a transaction each. The last transaction holds the request,
erases the person's own rows, searches them, and completes the request and the journal.

Read in this order:
- `plan`: what is erased, pseudonymised or kept, and what forbids it. `reach`: which rows, and where it must stop.
- `entity`, `request`: what is asked for, and whether it may be executed.
- `job`: preview, then execution. `preview`: fills the `selection`, counts the `covered` rows, finds blockers.
- `execution`: the four steps. `objects`: stored files. `treatment`: what stands in a column afterwards.
- `search`, with `identifiers` and `needles`: what would be left, and what is left.
- `certificate`: what the request says at the end. `journal`: what survives a restored backup.
"""
