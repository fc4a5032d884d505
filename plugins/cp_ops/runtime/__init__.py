"""What every job shares; nothing here knows a domain or Airflow.

What can go wrong: two copies of a command run at once; a killed run leaves something half done that nobody records; a
transaction sees another tenant's rows, or fewer than there are; a preview writes; a failure is swallowed, or hides the
rows that went well; a driver's message carries a person's data into a log.

The principle: a run is a row of `cp_ops.job_run`, and that row is its lease. Every writing transaction locks the row first.
A run that lost its lease cannot write any more, whatever it still believes. Every run ends in one outcome.

Transactions: a job opens them by `JobRun.read`, `JobRun.write` and `JobRun.temporary_tables` only, each ends with its
block, and each sees one `Tenant`. Rows are counted as done after the commit.

In reading order:

- `runner` (the path of one run), `job` (what a job is and what it sees), `lease`, `preflight`, `outcome`
- `options`, `settings`, `plan`: what is asked for, what a deployment allows, what is due
- `database`, `statements`: how SQL is run, where it lives; `migrations`: the versions of schema cp_ops
- `errors`: the one table of what a failure means
- `findings`, `audit`, `outbox`: what a run leaves for people
- `firms`, `money`, `field_encryption`, `object_store`: the application's notions that several domains use
"""
