"""The sandbox's Solana services: a node that outlives its process, the payment tables, the demo's wallets."""

from __future__ import annotations

import json

import psycopg
import pytest

from sandbox.services.application import Application
from sandbox.services.postgres import PostgresServer
from sandbox.services.s3 import S3Server
from sandbox.services.solana import SolanaNodeService
from sandbox.services.solana_payments import SolanaPayments
from sandbox.solana_node.client import RpcClient
from sandbox.supervisor import Sandbox
from sandbox.world.solana_demo import SCENES


@pytest.fixture
def sandbox(tmp_path):
    kinds = (PostgresServer, S3Server, Application, SolanaNodeService, SolanaPayments)
    built = Sandbox(tmp_path / "state", services={kind.name: kind for kind in kinds}, environ={})
    yield built
    built.clean()


def test_payments_are_told_once_and_the_chain_outlives_its_process(sandbox):
    sandbox.up(report=lambda _: None)
    assert all(service.status().running for service in sandbox.services().values())
    connection = json.loads(sandbox.environment()["AIRFLOW_CONN_SOLANA_DEFAULT"])
    database = sandbox.service(Application).database

    def wallets():
        with psycopg.connect(database.owner_dsn) as owner:
            rows = owner.execute(
                "SELECT payment_address FROM django_solana_payments_solanapayment"
            ).fetchall()
        with RpcClient(connection["host"]) as client:
            return {
                address: client.value("getBalance", address, {"commitment": "processed"})
                for (address,) in rows
            }

    told = wallets()
    assert len(told) == sum(scene.count for scene in SCENES)
    assert sum(balance > 0 for balance in told.values()) >= 5
    sandbox.down()
    sandbox.up(report=lambda _: None)
    assert wallets() == told
