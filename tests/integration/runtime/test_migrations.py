"""The versions of schema cp_ops."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from cp_ops.runtime.errors import PreflightError
from cp_ops.runtime.migrations import main, upgrade
from cp_ops.runtime.schema_version import HEAD
from cp_ops.runtime.statements import INCLUDE
from tests.integration.scripted_job import ScriptedJob


@pytest.fixture
def bare(runner):
    """A database without schema cp_ops."""
    with runner.connect() as connection:
        connection.execute("DROP SCHEMA cp_ops CASCADE")
    return runner


def tables(runner):
    with runner.connect() as connection:
        rows = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'cp_ops' ORDER BY 1"
        ).fetchall()
    return [name for (name,) in rows]


def test_an_upgrade_from_nothing_and_one_with_nothing_to_do(bare):
    assert upgrade(bare.connect) == (None, HEAD)
    assert {"alembic_version", "finding", "job_run", "mail"} <= set(tables(bare))
    assert upgrade(bare.connect) == (HEAD, HEAD)


def test_two_upgrades_at_once_are_one(bare):
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: upgrade(bare.connect), range(2)))
    assert sorted(results, key=str) == sorted([(None, HEAD), (HEAD, HEAD)], key=str)


def test_an_upgrade_that_fails_in_the_middle_leaves_nothing(bare):
    """One transaction for all steps: here a later table's name is taken."""
    with bare.connect() as connection:
        connection.execute("CREATE SCHEMA cp_ops")
        connection.execute("CREATE TABLE cp_ops.mail (id bigint)")
    with pytest.raises(Exception, match='relation "mail" already exists'):
        upgrade(bare.connect)
    assert tables(bare) == ["mail"]


def test_head_is_the_newest_file():
    files = sorted(
        path.stem.split("_")[0] for path in (INCLUDE / "migrations" / "versions").glob("[0-9]*.py")
    )
    assert files[-1] == HEAD


def test_the_upgraded_schema_is_what_a_job_runs_on(bare):
    upgrade(bare.connect)
    assert bare(ScriptedJob()).error == ""


def test_a_job_on_a_database_without_the_schema_names_the_dag_that_makes_it(bare):
    with pytest.raises(
        PreflightError, match=r"^scripted: schema cp_ops is not there .*; trigger cp_ops_migrate once$"
    ):
        bare(ScriptedJob())


@pytest.mark.parametrize("version", ["0000", "9999"])
def test_a_job_on_another_version_names_both_and_the_dag(runner, version):
    with runner.connect() as connection:
        connection.execute("UPDATE cp_ops.alembic_version SET version_num = %s", [version])
    says = rf"^scripted: schema cp_ops is at version {version}, this package needs {HEAD}; trigger cp_ops_migrate once$"
    with pytest.raises(PreflightError, match=says):
        runner(ScriptedJob())


def test_the_command_line_upgrades_and_says_from_where_to_where(bare, monkeypatch, capsys):
    monkeypatch.setenv("CP_OPS_DSN", bare.dsn)
    assert main(["upgrade"]) == 0
    assert capsys.readouterr().out == f"schema cp_ops: none -> {HEAD}\n"
    assert main(["downgrade"]) == 2
    assert "usage: " in capsys.readouterr().err


def test_the_role_under_row_level_security_can_use_the_schema(app_db, runner):
    with psycopg.connect(app_db.rls_dsn) as connection:
        assert connection.execute("SELECT version_num FROM cp_ops.alembic_version").fetchone() == (HEAD,)
