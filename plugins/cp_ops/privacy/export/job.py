"""export_user_data: everything that the database holds about one user, in one archive."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import IO, TYPE_CHECKING

from psycopg.types.json import Jsonb

from cp_ops.privacy.catalogue import read_catalogue
from cp_ops.privacy.export.archive import ArchiveWriter, Ending, sha256_of, verify
from cp_ops.privacy.export.contents import Collector
from cp_ops.privacy.export.destination import destination
from cp_ops.privacy.export.firm_by_firm import FirmByFirm
from cp_ops.privacy.export.options import ExportUserDataOptions
from cp_ops.privacy.export.person import find_person
from cp_ops.privacy.export.plan import plan_export
from cp_ops.privacy.personal_data import load_map
from cp_ops.runtime.job import Job, JobRun
from cp_ops.runtime.preflight import Table

if TYPE_CHECKING:
    from cp_ops.privacy.export.contents import Contents
    from cp_ops.privacy.export.destination import ArchiveStore

log = logging.getLogger(__name__)

NEEDS = (
    Table.of("auth_user", "id email"),
    Table.of("firm_membership", "id firm_id user_id"),
    Table.of("clients_client", "id firm_id"),
    Table.of("clients_portal_user", "id client_id user_id", optional=True),
    Table.of("clients_contact", "id portal_user_id", optional=True),
    Table.of("account_emailaddress", "user_id email verified", optional=True),
    Table.of(
        "firm_audit_events",
        "firm_id category action target_model target_id metadata",
        "SELECT",
        "INSERT",
    ),
)
ENDINGS = {
    "all": (Ending.JSONL, Ending.CSV),
    "jsonl": (Ending.JSONL,),
    "csv": (Ending.CSV,),
}
"""The option `format` to the files of each table."""


class ExportUserData(Job[ExportUserDataOptions]):
    """Export what the database holds about one user.

    :param store: where archives for S3 go.
    """

    command = "export_user_data"
    statements = "privacy/export"
    options = ExportUserDataOptions
    needs = NEEDS

    def __init__(self, store: ArchiveStore) -> None:
        self._store = store

    def scope(self, options: ExportUserDataOptions) -> str:
        """Let exports of different users run at once."""
        return f"user:{options.user_id}"

    def run(self, run: JobRun, options: ExportUserDataOptions) -> None:
        """Find, count, plan; write the archive from the same snapshot, read it again, record it, hand it over."""
        target = destination(options.output_dir, self._store)
        target.check()
        owner = f"user-{options.user_id}-export-"
        name = f"{owner}{run.now:%Y%m%dT%H%M%SZ}-run{run.run_id}.zip"
        with ExitStack() as stack:
            with run.read(snapshot=True) as tx:
                tx.execute("steady_output")
                firms = FirmByFirm(run, tx)
                collector = Collector(run, tx, firms, load_map(), read_catalogue(tx))
                contents = collector.find(find_person(run, tx, firms, options.user_id))
                _warn_of_unmapped(run, contents)
                if not run.accept(plan_export(contents.tables)):
                    return
                # Entered into the outer stack: the staged file outlives the snapshot, and is gone whatever happens next.
                staged = stack.enter_context(target.staging(name, owner))
                collector.write(ArchiveWriter(staged), contents, ENDINGS[options.format])
            # Outside of the snapshot: reading the archive again can take minutes, in which it would hold back vacuum.
            facts = _verified(staged, contents)
            self._record(run, options, contents, facts)
            run.note("archive", target.publish(staged, name))
        for fact, value in facts.items():
            run.note(f"archive_{fact}", value)
        run.done("export", sum(table.rows + table.references for table in contents.tables))
        run.remote_call(self._store.calls)

    def _record(
        self, run: JobRun, options: ExportUserDataOptions, contents: Contents, facts: dict[str, int | str]
    ) -> None:
        """Record the access before the archive can be seen: an archive without a record must not exist."""
        for tenant in run.tenants(contents.person.firm_ids):
            with run.write(tenant) as tx:
                tx.execute(
                    "record_export",
                    firm_ids=list(tenant.firm_ids),
                    user_id=options.user_id,
                    now=run.now,
                    metadata=Jsonb({"run": run.run_id, "format": options.format, **facts}),
                    request_id=f"cp_ops-run-{run.run_id}",
                )
        if not contents.person.firm_ids:
            run.skip("the user belongs to no firm: there is no audit trail to record the access in")


def _warn_of_unmapped(run: JobRun, contents: Contents) -> None:
    for kind, names in contents.unmapped.items():
        run.note(f"unmapped_{kind}", len(names))
        if names:
            log.warning(
                "the personal-data map does not know these %s, they were not exported: %s",
                kind,
                ", ".join(names),
            )


def _verified(staged: IO[bytes], contents: Contents) -> dict[str, int | str]:
    staged.flush()
    manifest = verify(staged)
    return {
        "sha256": sha256_of(staged),
        "bytes": staged.seek(0, os.SEEK_END),
        "files": len(manifest["files"]),
        "rows": sum(table.rows for table in contents.tables),
        "tables": sum(1 for table in contents.tables if table.rows),
    }
