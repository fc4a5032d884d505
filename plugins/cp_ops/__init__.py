"""ConsultantPro's operations on Apache Airflow."""
