"""Triggering the DAGs as operators do: the REST API, the command line. The browser's form is in test_browser.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from sandbox.airflow_api import ApiError

pytestmark = pytest.mark.scheduler

COMMANDS = {
    "reconcile_s3": {"firm_id": 1},
    "cleanup_webhook_events": {"days": 365, "provider": "square"},
    "check_stale_deals": {"firm_id": 1, "days": 60},
}
BAD = {
    "reconcile_s3": ({"firm_id": "one"}, "firm_id"),
    "cleanup_webhook_events": ({"days": 7}, "days"),
    "check_stale_deals": ({"days": 0}, "days"),
}


@pytest.fixture(scope="module")
def cli(sandbox, api):
    """Run `airflow ...` as an operator's shell would, in the sandbox's environment."""
    environment = {**os.environ, **sandbox.environment()}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.parametrize("dag_id", sorted(COMMANDS))
def test_the_rest_api_runs_it_with_good_params(dag_id, api):
    run = api.wait(api.trigger(dag_id, {**COMMANDS[dag_id], "dry_run": True}), seconds=120)

    assert run.state == "success"
    (outcome,) = api.returned_values(run)
    assert outcome["command"] == dag_id
    assert outcome["dry_run"] is True
    assert outcome["plan"].startswith("sha256:")


@pytest.mark.parametrize("dag_id", sorted(BAD))
def test_the_rest_api_refuses_bad_params_naming_the_field(dag_id, api):
    conf, field = BAD[dag_id]
    with pytest.raises(ApiError, match=field) as refusal:
        api.trigger(dag_id, conf)
    assert refusal.value.status == 400


def test_an_unknown_param_fails_the_task_and_the_log_names_it(api):
    run = api.wait(api.trigger("check_stale_deals", {"frim_id": 1}), seconds=120)
    assert run.state == "failed"
    assert "frim_id: unknown option. Did you mean firm_id?" in api.log(run, "check_stale_deals")


def test_a_suspended_firm_is_refused_and_the_log_says_why(api):
    run = api.wait(api.trigger("reconcile_s3", {"firm_id": 3}), seconds=120)
    assert run.state == "failed"
    assert "firm_id: firm 3 is suspended" in api.log(run, "reconcile_s3")


def test_the_command_line_runs_it_with_good_params(cli, api):
    conf = json.dumps({"provider": "sms", "dry_run": True})
    done = cli(
        "dags", "trigger", "cleanup_webhook_events", "--conf", conf, "--run-id", "typed", "--output", "json"
    )
    assert done.returncode == 0, done.stderr
    run = api.wait(api.run("cleanup_webhook_events", "typed"), seconds=120)
    assert run.state == "success"


def test_the_command_line_refuses_bad_params_naming_the_field(cli):
    done = cli(
        "dags", "trigger", "cleanup_webhook_events", "--conf", json.dumps({"days": 7}), "--run-id", "refused"
    )
    assert done.returncode != 0
    assert "days" in done.stderr + done.stdout


def test_the_last_line_of_a_runs_log_is_its_outcome(api):
    run = api.wait(api.trigger("cleanup_webhook_events", {"dry_run": True}), seconds=120)
    lines = [
        line
        for line in api.log(run, "cleanup_webhook_events").splitlines()
        if "cp_ops" in line or "outcome" in line
    ]
    assert "outcome command=cleanup_webhook_events dry_run=true planned=" in lines[-1]
