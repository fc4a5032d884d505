"""Run DAGs with `dag.test()`: the real operators in the test's process, on the test's own application database."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from sandbox import solana_payments
from sandbox.services.solana import FEE_PAYER, RECEIVER
from sandbox.solana_node import SolanaNode
from sandbox.world import World, autopay, encryption, seed
from sandbox.world.solana import ENCRYPTION_KEY, NodeChain, PaymentShop
from sandbox.world.solana_demo import tell_payments
from tests.airflow_environment import DAGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from airflow.sdk import DAG

    from sandbox.application import ApplicationDatabase
    from sandbox.services.s3 import S3Server
    from sandbox.services.smtp import SmtpServer
    from sandbox.stripe_api import StripeSandbox


def load_dags(folder_or_file: Path = DAGS) -> dict[str, DAG]:
    """Parse the DAG files afresh: a `dag.test()` leaves its run's params behind in the DAG object."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(str(folder_or_file))
    assert bag.import_errors == {}
    return dict(bag.dags)


def load_dag(dag_id: str) -> DAG:
    """Parse the file of one DAG afresh."""
    (file,) = DAGS.glob(f"*/{dag_id}.py")
    return load_dags(file)[dag_id]


@pytest.fixture(scope="session")
def dags() -> dict[str, DAG]:
    """The package's DAGs, to look at."""
    return load_dags()


@pytest.fixture(scope="session")
def metadata_db() -> None:
    """Airflow's own database, in the throw-away home, with the DAGs' bundle in it."""
    for command in (["db", "migrate"], ["dags", "reserialize"]):
        subprocess.run([sys.executable, "-m", "airflow", *command], check=True, capture_output=True)


@dataclass(frozen=True)
class Ran:
    """A finished DAG run: its state, and of each task the state and the outcome."""

    state: str
    tasks: dict[str, str]
    outcomes: dict[str, dict[str, Any]]


@pytest.fixture
def solana(app_db: ApplicationDatabase) -> Iterator[SolanaNode]:
    """A Solana node, and the payment module's tables without rows."""
    solana_payments.create_payment_tables(app_db)
    with SolanaNode() as node:
        node.build.airdrop(RECEIVER.pubkey(), 10**9)
        yield node


def solana_connection(url: str) -> dict[str, Any]:
    """The connection to a node."""
    extra = {"receiver_address": str(RECEIVER.pubkey()), "wallet_encryption_keys": [ENCRYPTION_KEY]}
    return {"conn_type": "generic", "host": url, "password": FEE_PAYER.to_json(), "extra": extra}


@pytest.fixture
def connections(
    app_db: ApplicationDatabase,
    s3_server: S3Server,
    smtp: SmtpServer,
    solana: SolanaNode,
    stripe: StripeSandbox,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The connections and settings of a deployment, set through the environment."""
    database = conninfo_to_dict(app_db.cp_ops_dsn)
    definitions = {
        "cp_app": {
            "conn_type": "postgres",
            "host": database["host"],
            "port": int(database["port"]),
            "login": database["user"],
            "password": database["password"],
            "schema": database["dbname"],
        },
        "cp_s3": s3_server.connection(),
        "cp_kms": {"conn_type": "generic", "password": encryption.LocalKms.from_environment().master_key},
        "smtp_default": smtp.connection(),
        "solana_default": solana_connection(solana.url),
        "stripe_default": {
            "conn_type": "generic",
            "password": stripe.key,
            "extra": {"base_url": stripe.url, "rate_limit": 0},
        },
    }
    for name, definition in definitions.items():
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(definition))
    monkeypatch.setenv(
        "AIRFLOW__CP_OPS__DEFAULT_FIRM_KMS_KEY_ID", encryption.LocalKms.from_environment().default_key_id
    )
    monkeypatch.setenv("AIRFLOW__CP_OPS__S3_ORPHAN_GRACE_HOURS", "0")
    monkeypatch.setenv("AIRFLOW__CP_OPS__FRONTEND_URL", "https://app.example.test")
    monkeypatch.setenv("AIRFLOW__CP_OPS__DEFAULT_FROM_EMAIL", "ops@example.test")


@pytest.fixture
def run_dag(metadata_db: None, connections: None, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run a DAG once, with params.

    `dag.test()` would first parse every file of the bundle and store every DAG, which `metadata_db` has done already.
    """
    from airflow.dag_processing import dagbag

    monkeypatch.setattr(dagbag.BundleDagBag, "collect_dags", lambda *_, **__: None)
    monkeypatch.setattr(dagbag, "sync_bag_to_db", lambda *_, **__: None)

    def run(dag_id: str, **conf: Any) -> Ran:
        run = load_dag(dag_id).test(run_conf=conf)
        instances = run.get_task_instances()
        return Ran(
            str(run.state),
            {ti.task_id: str(ti.state) for ti in instances},
            {ti.task_id: ti.xcom_pull(task_ids=ti.task_id, key="outcome") for ti in instances},
        )

    return run


@pytest.fixture
def demo_world(
    app_db: ApplicationDatabase, s3_server: S3Server, stripe: StripeSandbox, solana: SolanaNode
) -> None:
    """The demo's firms, with their objects in S3 and at Stripe, and its Solana payments."""
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        seed.seed_rows(connection)
        stripe.seed(autopay.stripe_specs(connection))
        tell_payments(PaymentShop(World(connection), NodeChain(solana, FEE_PAYER)))
    seed.seed_objects(s3_server.client(), document_scale=1)
