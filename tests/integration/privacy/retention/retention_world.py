"""What the tests of execute_retention_policies share: jobs, old rows of every table, what is left of them."""

from __future__ import annotations

from datetime import UTC, date, datetime

from cp_ops.privacy.retention.covered_tables import COVERED_TABLES
from cp_ops.privacy.retention.job import ExecuteRetentionPolicies
from cp_ops.runtime.field_encryption import FieldEncryption, LocalKms
from sandbox.world import encryption

LONG_AGO = datetime(2012, 1, 1, tzinfo=UTC)


class NoStore:
    """Tables without objects need no store."""

    calls = 0

    def delete_versions(self, bucket, keys):
        raise AssertionError("no object was to be deleted")


def field_encryption():
    kms = encryption.LocalKms.from_environment()
    return FieldEncryption(LocalKms(kms.master_key), kms.default_key_id)


def job(store=None, **kwargs):
    return ExecuteRetentionPolicies(store or NoStore(), field_encryption, **kwargs)


def count(owner, table, where="true"):
    return owner.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()[0]


def executions(owner):
    return owner.execute(
        "SELECT policy_id, status, records_processed, records_archived, records_anonymized, records_deleted,"
        " records_skipped FROM core_retention_executions ORDER BY policy_id, id"
    ).fetchall()


def old_lead(firm, days=400, **columns):
    return firm.lead(created_at=firm.world.ago(days=days), **columns)


DUE = {
    "email_ingestion_artifacts": {"sent_at": LONG_AGO},
    "communications_message": {"created_at": LONG_AGO},
    "clients_message": {"created_at": LONG_AGO},
    "sms_messages": {"created_at": LONG_AGO},
    "documents_documents": {"created_at": LONG_AGO, "legal_hold": False, "s3_key": "", "s3_bucket": ""},
    "firm_audit_events": {"timestamp": LONG_AGO},
    "finance_invoices": {
        "status": "paid",
        "issue_date": date(2012, 1, 1),
        "paid_date": date(2012, 2, 1),
        "total_amount": 5,
        "amount_paid": 5,
    },
    "projects_projects": {"status": "completed", "end_date": date(2012, 1, 1)},
    "projects_time_entries": {"date": date(2012, 1, 1), "invoiced": False},
    "crm_leads": {"created_at": LONG_AGO},
    "crm_prospects": {"created_at": LONG_AGO},
    "support_tickets": {"closed_at": LONG_AGO},
}
CHILD = {
    "documents_locks": {"expires_at": LONG_AGO},
    "documents_versions": {"s3_key": "", "s3_bucket": ""},
}
CASES = [
    (data_type, target)
    for data_type, targets in COVERED_TABLES.items()
    for target in targets
    if data_type != "emails"
]
IDS = [f"{data_type}-{target.name}" for data_type, target in CASES]


def session(owner, expired_days_ago):
    owner.execute(
        "INSERT INTO django_session VALUES (%s, 'x', now() - %s * interval '1 day')",
        [f"s{expired_days_ago}", expired_days_ago],
    )


def left(s3):
    listed = s3.client.list_object_versions(Bucket=s3.name)
    return sorted(entry["Key"] for entry in (*listed.get("Versions", ()), *listed.get("DeleteMarkers", ())))


def pending(runner):
    with runner.connect() as connection:
        return connection.execute("SELECT count(*) FROM cp_ops.object_deletion").fetchone()[0]


STEPS = {
    "execution begun": "cp_ops.privacy.retention.execution:PolicyExecution._begin",
    "batch in its transaction": "cp_ops.privacy.retention.rows:PolicyRows.apply",
    "children deleted": "cp_ops.privacy.retention.rows:PolicyRows._act",
    "rows collected": "cp_ops.privacy.retention.rows:PolicyRows._filled",
    "execution finished": "cp_ops.privacy.retention.execution:PolicyExecution._finish",
    "objects deleted": "cp_ops.privacy.retention.object_deletion:ObjectDeletions.carry_out",
    "audited": "cp_ops.runtime.job:JobRun.audit",
}
