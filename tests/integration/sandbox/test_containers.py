"""What the containers of docker-compose.yaml run, run here without containers: their commands, their variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import stripe

from sandbox.service import free_port
from sandbox.services.postgres import PostgresServer
from sandbox.services.solana import SolanaNodeService
from sandbox.services.stripe import StripeServer
from sandbox.solana_payments import PAYMENTS
from sandbox.stripe_api import DEFAULT_KEY
from tests import compose
from tests.airflow_environment import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.services.s3 import S3Server

PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A cluster without any role or database of ours, as the image's first start leaves it."""
    server = PostgresServer(tmp_path_factory.mktemp("compose-postgres"), dies_with_parent=True)
    server.start()
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def env(server):
    """What .env holds, with the superuser's password that this server has."""
    done = subprocess.run(
        ["sh", "sandbox/new_env.sh"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    return compose.parse_env(done.stdout) | {"POSTGRES_PASSWORD": server.password}


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Stripe and a Solana node without anything in them: their addresses there, and here."""
    stripe = StripeServer(tmp_path_factory.mktemp("compose-stripe"), dies_with_parent=True)
    solana = SolanaNodeService(tmp_path_factory.mktemp("compose-solana"), dies_with_parent=True)
    with stripe, solana:
        yield {"http://stripe:4242": stripe.url, "http://solana:8899/": solana.url}


@pytest.fixture
def container(server, s3_server: S3Server, stand_ins, env, tmp_path):
    """Give a service's command and variables, with the addresses of what runs here."""

    def service(name: str) -> tuple[list[str], dict[str, str]]:
        found = compose.load(env)["services"][name]
        addresses = {
            **stand_ins,
            "http://s3:5000": s3_server.endpoint_url,
            "@postgres:5432": f"@{server.host}:{server.port}",
            "/opt/airflow": str(tmp_path),
        }
        environment = dict(found["environment"]) | {"POSTGRES_PORT": str(server.port)}
        if "POSTGRES_HOST" in environment:
            environment["POSTGRES_HOST"] = server.host
        for text, here in addresses.items():
            environment = {name: value.replace(text, here) for name, value in environment.items()}
        return found["command"], {
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(tmp_path),
            "AIRFLOW_HOME": str(tmp_path),
            **environment,
        }

    return service


def run(command, environment):
    return subprocess.run(
        command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False
    )


def at_stripe(stand_ins):
    """How many customers Stripe has."""
    api = stripe.StripeClient(DEFAULT_KEY, base_addresses={"api": stand_ins["http://stripe:4242"]})
    return len(api.v1.customers.list({"limit": 100}).data)


def test_the_world_is_made_once_and_airflow_prepared(server, container, env, s3_server, stand_ins, tmp_path):
    command, environment = container("world")
    first = run(command, environment)
    assert first.returncode == 0, first.stderr
    assert '"rows": "written"' in first.stdout

    jobs = f"postgresql://cp_ops:{env['CP_OPS_DB_PASSWORD']}@{server.host}:{server.port}/consultantpro"
    with psycopg.connect(jobs) as connection:
        assert connection.execute("SELECT count(*) FROM firm_firm").fetchone() == (3,)
        assert connection.execute("SELECT count(*) FROM cp_ops.job_run").fetchone() == (0,)
        payments = connection.execute(f"SELECT count(*) FROM {PAYMENTS}").fetchone()
    customers = at_stripe(stand_ins)
    assert customers > 0
    assert payments > (0,)
    buckets = [bucket["Name"] for bucket in s3_server.client().list_buckets()["Buckets"]]
    assert buckets

    again = run(command, environment)
    assert again.returncode == 0, again.stderr
    assert '"rows": "present before"' in again.stdout
    assert '"objects_put": 0' in again.stdout
    assert at_stripe(stand_ins) == customers
    with psycopg.connect(jobs) as connection:
        assert connection.execute(f"SELECT count(*) FROM {PAYMENTS}").fetchone() == payments

    (tmp_path / "auth").mkdir()
    (tmp_path / "include").symlink_to(REPOSITORY / "include")
    command, environment = container("airflow-init")
    prepared = run(command, environment)
    assert prepared.returncode == 0, prepared.stderr
    passwords = tmp_path / "auth" / "passwords.json"
    assert passwords.read_text() == f'{{"admin": "{env["AIRFLOW_ADMIN_PASSWORD"]}"}}\n'
    assert passwords.stat().st_mode & 0o077 == 0
    with server.connect("airflow") as connection:
        owner = connection.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'dag_run'").fetchone()
        pools = {name for (name,) in connection.execute("SELECT pool FROM slot_pool").fetchall()}
    assert owner == ("airflow",)
    assert pools >= set(json.loads((REPOSITORY / "include" / "pools.json").read_text(encoding="utf-8")))


def test_the_world_says_which_variable_is_missing(container):
    command, environment = container("world")
    refused = run(command, {**environment, "CP_OPS_DB_PASSWORD": ""})
    assert refused.returncode == 1
    assert refused.stderr == "error: variable CP_OPS_DB_PASSWORD is not set\n"


@pytest.mark.parametrize(
    ("name", "inside"), [("s3", "5000"), ("smtp", "2525"), ("stripe", "4242"), ("solana", "8899")]
)
def test_a_server_starts_and_its_health_check_finds_it(name, inside, tmp_path):
    service = compose.load(None)["services"][name]
    port = str(free_port())

    def here(part: str) -> str:
        mailbox = part.replace("/opt/airflow/.sandbox", str(tmp_path))
        return mailbox.replace("0.0.0.0", "127.0.0.1").replace(inside, port)

    python = PROGRAMS / "python"
    command = [here(part) for part in service["command"]]
    check = [here(part) for part in service["healthcheck"]["test"][1:]]
    server = subprocess.Popen(
        [python, *command[1:]], cwd=REPOSITORY, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        results = []
        for _ in range(service["healthcheck"]["retries"] * 10):
            results.append(subprocess.run([python, *check[1:]], capture_output=True, check=False).returncode)
            if results[-1] == 0:
                break
        assert results[-1] == 0
    finally:
        server.terminate()
        server.wait(timeout=10)
    gone = subprocess.run([python, *check[1:]], capture_output=True, check=False)
    assert gone.returncode != 0, "the check fails when nothing listens"
