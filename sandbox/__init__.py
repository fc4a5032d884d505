"""A whole ConsultantPro world on one machine: PostgreSQL, S3, SMTP, Airflow and the application's data."""
