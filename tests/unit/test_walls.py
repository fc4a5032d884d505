"""The walls that `make lint` promises hold: each contract refuses a violation that is planted for it, and names it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.airflow_environment import REPOSITORY

PACKAGE = REPOSITORY / "plugins" / "cp_ops"
CONFIGURATION = REPOSITORY / "pyproject.toml"
OUTER = {"hooks", "operators", "web"}
"""The folders that may import Airflow."""

PLANTED = {
    "a domain imports a hook": (
        "layers",
        "crm/stale_deals/alerts.py",
        "from cp_ops.hooks.secrets import connection_password",
        "cp_ops.crm.stale_deals.alerts -> cp_ops.hooks.secrets",
    ),
    "a domain imports another": (
        "layers",
        "crm/stale_deals/alerts.py",
        "from cp_ops.finance.caps import cap_totals",
        "cp_ops.crm.stale_deals.alerts -> cp_ops.finance.caps",
    ),
    "runtime imports a domain": (
        "layers",
        "runtime/money.py",
        "from cp_ops.finance.caps import cap_totals",
        "cp_ops.runtime.money -> cp_ops.finance.caps",
    ),
    "a hook imports an operator": (
        "layers",
        "hooks/secrets.py",
        "from cp_ops.operators.links import PREFIX",
        "cp_ops.hooks.secrets -> cp_ops.operators.links",
    ),
    "an operator imports the page": (
        "layers",
        "operators/crm.py",
        "from cp_ops.web.operations import ROWS",
        "cp_ops.operators.crm -> cp_ops.web.operations",
    ),
    "a folder that no layer names": (
        "layers",
        "surveys/__init__.py",
        "",
        "- cp_ops.surveys (Since this contract is marked as 'exhaustive'",
    ),
    "a domain imports Airflow": (
        "airflow",
        "crm/stale_deals/alerts.py",
        "from airflow.sdk import conf",
        "cp_ops.crm.stale_deals.alerts -> airflow",
    ),
    "runtime reaches Airflow through a hook": (
        "airflow",
        "runtime/money.py",
        "from cp_ops.hooks.secrets import connection_password",
        "cp_ops.runtime.money -> cp_ops.hooks.secrets",
    ),
    "charging's sibling imports charging": (
        "finance",
        "finance/packages/plan.py",
        "from cp_ops.finance.charges.options import ProcessRecurringChargesOptions",
        "cp_ops.finance.packages.plan -> cp_ops.finance.charges.options",
    ),
    "packages import views": (
        "finance",
        "finance/packages/plan.py",
        "from cp_ops.finance.views.options import VIEWS",
        "cp_ops.finance.packages.plan -> cp_ops.finance.views.options",
    ),
    "the export imports the erasure": (
        "privacy",
        "privacy/export/job.py",
        "from cp_ops.privacy.erasure.options import ExecuteErasureRequestOptions",
        "cp_ops.privacy.export.job -> cp_ops.privacy.erasure.options",
    ),
    "the erasure imports its replay": (
        "privacy",
        "privacy/erasure/job.py",
        "from cp_ops.privacy.replay.options import ReplayErasuresOptions",
        "cp_ops.privacy.erasure.job -> cp_ops.privacy.replay.options",
    ),
    "a plan imports the driver": (
        "plans",
        "finance/charges/plan.py",
        "import psycopg",
        "cp_ops.finance.charges.plan -> psycopg",
    ),
    "a plan imports the database": (
        "plans",
        "privacy/retention/plan.py",
        "from cp_ops.runtime.database import Transaction",
        "cp_ops.privacy.retention.plan -> cp_ops.runtime.database",
    ),
    "a plan imports the job": (
        "plans",
        "firms/provisioning/plan.py",
        "from cp_ops.runtime.job import JobRun",
        "cp_ops.firms.provisioning.plan -> cp_ops.runtime.job",
    ),
    "options reach the driver through the job": (
        "options",
        "crm/stale_deals/options.py",
        "from cp_ops.crm.stale_deals.job import CheckStaleDeals",
        "cp_ops.crm.stale_deals.options -> cp_ops.crm.stale_deals.job",
    ),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The package in a folder of its own, where a test may plant what it likes."""
    folder = tmp_path_factory.mktemp("walls")
    shutil.copytree(PACKAGE, folder / "cp_ops", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def contracts():
    return tomllib.loads(CONFIGURATION.read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def lint_imports(folder, contract):
    """What `make lint` runs, for one contract; gives whether it is kept, and what is said."""
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--config", CONFIGURATION, "--contract", contract,
         "--cache-dir", folder / "cache", "--no-logo"],
        cwd=folder, env={"PYTHONPATH": str(folder), "COLUMNS": "400"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("violation", PLANTED)
def test_a_planted_violation_is_refused_and_named(violation, copy):
    contract, file, statement, named = PLANTED[violation]
    path = copy / "cp_ops" / file
    assert path.exists() or not statement, "the file to plant in has another name now"
    before = path.read_bytes() if path.exists() else None
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((before or b'"""A new room."""\n') + f"\n{statement}\n".encode())
    try:
        kept, said = lint_imports(copy, contract)
    finally:
        if before is None:
            shutil.rmtree(path.parent)
        else:
            path.write_bytes(before)
    assert not kept
    assert named in " ".join(said.split())


def test_the_package_keeps_every_contract_and_each_has_a_planted_violation(copy):
    names = [contract["id"] for contract in contracts()]
    assert set(names) == {contract for contract, *_ in PLANTED.values()}
    for name in names:
        kept, said = lint_imports(copy, name)
        assert kept, said


def test_every_folder_but_the_outer_ones_is_kept_free_of_airflow():
    (airflow,) = (contract for contract in contracts() if contract["id"] == "airflow")
    folders = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert set(airflow["source_modules"]) == {f"cp_ops.{name}" for name in folders - OUTER}
