"""One whole sandbox for these tests: the demo world and a real Airflow, as `make up` starts them."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from sandbox.airflow_api import AirflowApi
from sandbox.services.airflow import Airflow
from sandbox.services.application import Application
from sandbox.supervisor import Sandbox
from tests.airflow_environment import DAGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandbox.application import ApplicationDatabase

PROBES = Path(__file__).parent / "probes"
OPTIONS = {
    "scheduler": {
        "task_instance_heartbeat_timeout": 15,
        "task_instance_heartbeat_timeout_detection_interval": 2,
    }
}
"""Airflow notices a killed worker after 15 s instead of 5 minutes."""
ACCEPTANCE_SECONDS = 120


@pytest.fixture(scope="package")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of its own, with the package's DAGs and the probes."""
    root = tmp_path_factory.mktemp("acceptance")
    dags = root / "dags"
    dags.mkdir()
    (dags / "package").symlink_to(DAGS)
    (dags / "probes").symlink_to(PROBES)
    environ = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "CP_OPS_DAGS_FOLDER": str(dags),
        "CP_OPS_AIRFLOW_OPTIONS": json.dumps(OPTIONS),
    }
    sandbox = Sandbox(root / "state", environ=environ)
    try:
        sandbox.up(lambda text: None)
        yield sandbox
    finally:
        sandbox.clean()


@pytest.fixture(scope="package")
def api(sandbox: Sandbox) -> AirflowApi:
    """Airflow's REST API, once every DAG file is read and every DAG may run."""
    api = AirflowApi(sandbox.service(Airflow).base_url)
    expected = {path.stem for path in DAGS.glob("*/*.py")} | {"probe_job", "probe_unguarded"}
    deadline = time.monotonic() + ACCEPTANCE_SECONDS
    while missing := expected - {dag["dag_id"] for dag in api.dags()}:
        assert api.import_errors() == []
        assert time.monotonic() < deadline, f"not read after {ACCEPTANCE_SECONDS} s: {missing}"
        time.sleep(0.5)
    for dag_id in expected:
        api.unpause(dag_id)
    return api


@pytest.fixture(scope="package")
def database(sandbox: Sandbox) -> ApplicationDatabase:
    """The application's database of the sandbox."""
    return sandbox.service(Application).database


@pytest.fixture
def app(database: ApplicationDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the application's owner, who is a member of nothing else."""
    with psycopg.connect(database.owner_dsn, autocommit=True) as connection:
        yield connection


@pytest.fixture
def jobs(database: ApplicationDatabase) -> Iterator[psycopg.Connection[Any]]:
    """A connection of the jobs' role, which owns schema cp_ops."""
    with psycopg.connect(database.cp_ops_dsn, autocommit=True) as connection:
        yield connection


CHROMIUM_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,1400",
)


@pytest.fixture(scope="package")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Debian's chromium with a profile of its own, driven by its chromedriver."""
    chromium, chromedriver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and chromedriver):
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium and chromedriver: .ci/run installs them", pytrace=False)
        pytest.skip("needs a browser: apt-get install chromium chromium-driver")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in (*CHROMIUM_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(chromedriver))
    yield driver
    driver.quit()
