"""The operations page inside the Airflow UI."""
