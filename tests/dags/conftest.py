"""Run DAGs with `dag.test()`: the real operators in the test's process, on the test's own application database."""

from __future__ import annotations

import json
import os
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
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from airflow.sdk import DAG

    from sandbox.application import ApplicationDatabase
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


def app_connection(database: ApplicationDatabase) -> dict[str, Any]:
    """The connection to the application's database, as the jobs' role."""
    parts = conninfo_to_dict(database.cp_ops_dsn)
    return {
        "conn_type": "postgres",
        "host": parts["host"],
        "port": int(parts["port"]),
        "login": parts["user"],
        "password": parts["password"],
        "schema": parts["dbname"],
    }


def kms_connection(_: None) -> dict[str, Any]:
    """The connection that holds the application's local master key; there is no peer behind it."""
    return {"conn_type": "generic", "password": encryption.LocalKms.from_environment().master_key}


def stripe_connection(server: StripeSandbox) -> dict[str, Any]:
    """The connection to the local Stripe."""
    return {
        "conn_type": "generic",
        "password": server.key,
        "extra": {"base_url": server.url, "rate_limit": 0},
    }


@dataclass(frozen=True)
class Peer:
    """What a connection leads to.

    :ivar fixture: the fixture that starts the peer; None where there is none.
    :ivar definition: gives the connection to it.
    """

    fixture: str | None
    definition: Callable[[Any], dict[str, Any]]


PEERS = {
    "cp_app": Peer("app_db", app_connection),
    "cp_s3": Peer("s3_server", lambda server: server.connection()),
    "cp_kms": Peer(None, kms_connection),
    "smtp_default": Peer("smtp", lambda server: server.connection()),
    "solana_default": Peer("solana", lambda node: solana_connection(node.url)),
    "stripe_default": Peer("stripe", stripe_connection),
}
"""Every connection that the package's DAGs name, as a deployment would define it."""


def connections_of(dag: DAG) -> set[str]:
    """The connections that a DAG's operators name; optional ones that no test defines are left out."""
    named = {value for task in dag.tasks for name, value in vars(task).items() if name.endswith("_conn_id")}
    return named & PEERS.keys()


@pytest.fixture
def connect(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Iterable[str]], None]:
    """Define connections through the environment, and start only the peers that they lead to."""

    def define(conn_ids: Iterable[str]) -> None:
        for conn_id in conn_ids:
            variable = f"AIRFLOW_CONN_{conn_id.upper()}"
            if variable in os.environ:
                continue  # the test has defined it itself
            peer = PEERS[conn_id]
            started = request.getfixturevalue(peer.fixture) if peer.fixture else None
            monkeypatch.setenv(variable, json.dumps(peer.definition(started)))

    return define


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings of a deployment, set through the environment."""
    monkeypatch.setenv(
        "AIRFLOW__CP_OPS__DEFAULT_FIRM_KMS_KEY_ID", encryption.LocalKms.from_environment().default_key_id
    )
    monkeypatch.setenv("AIRFLOW__CP_OPS__S3_ORPHAN_GRACE_HOURS", "0")
    monkeypatch.setenv("AIRFLOW__CP_OPS__FRONTEND_URL", "https://app.example.test")
    monkeypatch.setenv("AIRFLOW__CP_OPS__DEFAULT_FROM_EMAIL", "ops@example.test")


@pytest.fixture
def connections(connect: Callable[[Iterable[str]], None], settings: None) -> None:
    """A deployment whose only peer is the application's database."""
    connect(["cp_app"])


@pytest.fixture
def run_dag(
    metadata_db: None,
    connect: Callable[[Iterable[str]], None],
    settings: None,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., Ran]:
    """Run a DAG once, with params, against the peers that its connections name.

    `dag.test()` would first parse every file of the bundle and store every DAG, which `metadata_db` has done already.
    """
    from airflow.dag_processing import dagbag

    monkeypatch.setattr(dagbag.BundleDagBag, "collect_dags", lambda *_, **__: None)
    monkeypatch.setattr(dagbag, "sync_bag_to_db", lambda *_, **__: None)

    def run(dag_id: str, **conf: Any) -> Ran:
        dag = load_dag(dag_id)
        connect(connections_of(dag))
        run = dag.test(run_conf=conf)
        instances = run.get_task_instances()
        return Ran(
            str(run.state),
            {ti.task_id: str(ti.state) for ti in instances},
            {ti.task_id: ti.xcom_pull(task_ids=ti.task_id, key="outcome") for ti in instances},
        )

    return run


@pytest.fixture
def demo_world(request: pytest.FixtureRequest, app_db: ApplicationDatabase) -> None:
    """The demo's firms; beside them what they have at the peers of the test's DAG, or that the test asks for itself."""
    peers = set(request.fixturenames)
    parameters = request.node.callspec.params if hasattr(request.node, "callspec") else {}
    if "dag_id" in parameters:
        peers |= {PEERS[conn_id].fixture for conn_id in connections_of(load_dag(parameters["dag_id"]))}
    with psycopg.connect(app_db.owner_dsn, autocommit=True) as connection:
        seed.seed_rows(connection)
        if "stripe" in peers:
            request.getfixturevalue("stripe").seed(autopay.stripe_specs(connection))
        if "solana" in peers:
            node = request.getfixturevalue("solana")
            tell_payments(PaymentShop(World(connection), NodeChain(node, FEE_PAYER)))
    if "s3_server" in peers:
        seed.seed_objects(request.getfixturevalue("s3_server").client(), document_scale=1)
