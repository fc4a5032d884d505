"""`make demo`: a clean sandbox, every job once through the real scheduler, and a table of what came of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sandbox.airflow_api import FINISHED, AirflowApi, Run
from sandbox.service import ServiceError
from sandbox.services.airflow import Airflow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from sandbox.supervisor import Sandbox

COMMAND_TAG = "command"
# What a job is given in the demo beside its own defaults.
CONF: dict[str, dict[str, Any]] = {
    "reconcile_s3": {"deep": True},
    "export_user_data": {"user_id": 1, "output_dir": "{state}/exports"},
    "provision_firm": {
        "name": "Alder Advisers",
        "slug": "alder-advisers",
        "admin_email": "admin@alder.example",
    },
    # A real run would wait for a person to approve it; its preview is the same plan.
    "execute_erasure_request": {"request_id": 1, "dry_run": True},
}
# The order of the table; a job that is not named here comes after these, in the order of the alphabet.
FIRST = ("reconcile_s3", "cleanup_webhook_events", "check_stale_deals")
# What has work, or is free to work, only once the others have run: round after round, whatever their tags are.
LATER = (
    ("process_recurring_charges", "solana_payments_maintenance"),
    ("refresh_materialized_views", "cp_ops_announce_solana_payments", "cp_ops_deliver_mail"),
)
# Commands that another DAG of the demo runs as its tasks.
IN_A_CHAIN = frozenset(
    {
        "close_expired_solana_payments_with_wallets",
        "send_solana_payments_from_one_time_wallets",
        "close_expired_one_time_wallets_and_reclaim_funds",
    }
)
_RUN_ID = "demo"
_PARSE_SECONDS = 90.0
_RUN_SECONDS = 150.0
_COUNTS = ("planned", "done", "skipped", "failed")


class Progress:
    """Prints one line per step with the seconds since the beginning."""

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._began = time.monotonic()
        self._write = write

    def __call__(self, text: str) -> None:
        """Print one step."""
        self._write(f"[{time.monotonic() - self._began:6.1f} s] {text}")


@dataclass
class Row:
    """One line of the table."""

    run: Run
    outcomes: list[dict[str, Any]] = field(default_factory=list)

    @property
    def failed(self) -> bool:
        """Whether the run failed, or any part of its work."""
        return self.run.state != "success" or any(outcome.get("failed") for outcome in self.outcomes)

    @property
    def cells(self) -> tuple[str, ...]:
        """The row's texts in the order of the table's columns."""
        seconds = "" if self.run.seconds is None else f"{self.run.seconds:.1f}"
        if not self.outcomes:
            return self.run.dag_id, self.run.state, "no outcome, see the log", "-", seconds, self.run.url
        return (
            self.run.dag_id,
            self.run.state,
            did(self.outcomes),
            found(self.outcomes),
            seconds,
            self.run.url,
        )


def did(outcomes: Iterable[dict[str, Any]]) -> str:
    """Say in a few words what a run did: its counts that are not zero."""
    totals = dict.fromkeys(_COUNTS, 0)
    for outcome in outcomes:
        for count in _COUNTS:
            totals[count] += _number(outcome.get(count))
    return ", ".join(f"{count} {number:,}" for count, number in totals.items() if number) or "nothing to do"


def found(outcomes: Iterable[dict[str, Any]]) -> str:
    """Say in a few words what a run found: findings opened, seen again, resolved."""
    totals: dict[str, int] = {}
    for outcome in outcomes:
        for kind, number in (outcome.get("findings") or {}).items():
            totals[kind] = totals.get(kind, 0) + _number(number)
    return (
        ", ".join(f"{number:,} {kind.replace('_', ' ')}" for kind, number in totals.items() if number) or "-"
    )


def _number(value: object) -> int:
    """Count what an outcome may give as a number or as one number per kind."""
    if isinstance(value, dict):
        return sum(_number(part) for part in value.values())
    return int(value) if isinstance(value, int | float) else 0


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out in columns."""
    lines = [
        ("command", "state", "what it did", "what it found", "seconds", "run"),
        *(row.cells for row in rows),
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
    return "\n".join([text[0], "  ".join("-" * width for width in widths), *text[1:]])


def in_order(dag_ids: Iterable[str]) -> list[list[str]]:
    """Sort the jobs into the demo's rounds; those of one round run at the same time."""
    known = set(dag_ids) - IN_A_CHAIN
    first = [dag_id for dag_id in FIRST if dag_id in known]
    later = [[dag_id for dag_id in wave if dag_id in known] for wave in LATER]
    others = sorted(known - set(first) - {dag_id for wave in later for dag_id in wave})
    return [wave for wave in (first + others, *later) if wave]


def run_demo(sandbox: Sandbox, *, once: bool) -> int:
    """Run the demo and return the exit code: 0 when every job succeeded. `once` stops everything at the end."""
    progress = Progress()
    progress("cleaning what an earlier demo left")
    sandbox.clean()
    try:
        progress("starting PostgreSQL, S3, SMTP and Airflow; Airflow takes half a minute")
        sandbox.up(progress)
        airflow = sandbox.service(Airflow)
        api = AirflowApi(airflow.base_url)
        rows = _run_jobs(api, airflow.dags_folder, sandbox.state, progress)
    except BaseException:
        if once:
            sandbox.down()
        raise
    failures = [row.run.dag_id for row in rows if row.failed]
    print(f"\n{table(rows)}\n")
    if failures:
        print(f"failed: {', '.join(failures)}; the run's page shows the task's log")
    if once:
        sandbox.down()
        progress("stopped")
    else:
        print(
            f"The UI is at {airflow.base_url} (no log-in), the mails at `make mails`, the database at `make psql`."
        )
        print("Schedules are off here: nothing runs unless you trigger it. Stop everything with `make stop`.")
    return 1 if failures or not rows else 0


def _run_jobs(api: AirflowApi, dags_folder: Path, state: Path, progress: Progress) -> list[Row]:
    dag_ids = _wait_until_parsed(api, dags_folder, progress)
    if not dag_ids:
        progress(f"no DAG is tagged {COMMAND_TAG!r}: nothing to run")
    rows: list[Row] = []
    for wave in in_order(dag_ids):
        runs = []
        for dag_id in wave:
            api.unpause(dag_id)
            runs.append(api.trigger(dag_id, _conf(dag_id, state), run_id=_RUN_ID))
            progress(f"{dag_id} triggered")
        rows += [Row(run, api.returned_values(run)) for run in _await_runs(api, runs, progress)]
    return rows


def _conf(dag_id: str, state: Path) -> dict[str, Any]:
    """Return what the demo gives a job; ``{state}`` in a text is the sandbox's folder."""
    return {
        name: value.replace("{state}", str(state)) if isinstance(value, str) else value
        for name, value in CONF.get(dag_id, {}).items()
    }


def _wait_until_parsed(api: AirflowApi, dags_folder: Path, progress: Progress) -> list[str]:
    """Wait for the DAG processor's first pass over the folder and return the ids of the jobs' DAGs."""
    files = [path for path in dags_folder.rglob("*.py") if not path.name.startswith("_")]
    progress(f"waiting for the DAG processor to read {len(files)} files")
    deadline = time.monotonic() + _PARSE_SECONDS
    while unread := _unread(api, dags_folder, files):
        errors = api.import_errors()
        if errors:
            raise ServiceError("a DAG file cannot be imported\n" + "\n".join(errors))
        if time.monotonic() > deadline:
            raise ServiceError(
                f"Airflow found no DAG in {', '.join(unread)} within {_PARSE_SECONDS:.0f} s. It passes over a file that "
                "lacks the word 'dag' or the word 'airflow' ([core] dag_discovery_safe_mode)"
            )
        time.sleep(0.5)
    commands = {dag["dag_id"] for dag in api.dags(tag=COMMAND_TAG)}
    later = {dag_id for wave in LATER for dag_id in wave}
    return sorted(commands | ({dag["dag_id"] for dag in api.dags()} & later))


def _unread(api: AirflowApi, dags_folder: Path, files: Sequence[Path]) -> list[str]:
    """Return the files of which Airflow knows no DAG yet, relative to the folder."""
    read = {dag["relative_fileloc"] for dag in api.dags()}
    return sorted(name for path in files if (name := str(path.relative_to(dags_folder))) not in read)


def _await_runs(api: AirflowApi, runs: Sequence[Run], progress: Progress) -> list[Run]:
    """Wait for all runs, telling of each as it ends; a run that does not end in time keeps its state."""
    current = {run.dag_id: run for run in runs}
    deadline = time.monotonic() + _RUN_SECONDS
    while (
        open_runs := [run for run in current.values() if run.state not in FINISHED]
    ) and time.monotonic() < deadline:
        time.sleep(1.0)
        for run in open_runs:
            current[run.dag_id] = api.run(run.dag_id, run.run_id)
            if current[run.dag_id].state in FINISHED:
                progress(f"{run.dag_id}: {current[run.dag_id].state}")
    return [current[run.dag_id] for run in runs]
