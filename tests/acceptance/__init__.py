"""Through a running Airflow: a package, so that its fixtures of scope `package` end with its last test."""
