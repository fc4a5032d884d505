"""The operators that DAGs are built from: a module per domain, a class per command. Where Airflow begins."""
