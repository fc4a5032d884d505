"""The operations page inside the Airflow UI: the last runs, the open findings, the outbox.

What can go wrong here: a stranger reads it, as Airflow does not guard a plugin's app; it holds the database; it makes every
Airflow process slower, as all of them load the plugin.

The principle: it only reads, in one short read-only transaction with a time limit, at most a screenful, behind Airflow's
own login on every route. Drivers are imported when the page is asked for.
"""
