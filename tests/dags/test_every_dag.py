"""What holds for every DAG of the package, as tests."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from cp_ops.operators.dags import OWNER, Tag
from cp_ops.runtime.options import SECRET_LIKE
from tests.airflow_environment import DAGS, REPOSITORY
from tests.dags.conftest import load_dags
from tests.dags.documented import COMMANDS, SYSTEM

HEADINGS = ["What it does", "When it runs", "Options", "What it reports", "Before you start", "Trigger it"]
"""What a page may say, in this order."""
EVERY_DAG = sorted(load_dags())
DOCUMENTED = COMMANDS | SYSTEM


@pytest.fixture(params=EVERY_DAG)
def dag(request, dags):
    return dags[request.param]


def test_every_file_declares_the_dag_that_it_is_named_after():
    """Also proves that Airflow's default discovery, which looks for words in the text, reads every file."""
    files = {path.stem: path for path in DAGS.glob("*/*.py")}
    assert sorted(files) == EVERY_DAG
    assert all(
        path.parent.name in {"daily", "weekly", "hourly", "quarter_hourly", "manual", "every_five_minutes"}
        for path in files.values()
    )


def test_only_documented_commands_have_dags():
    assert set(EVERY_DAG) <= set(DOCUMENTED)


def test_params_are_the_documented_options_and_no_others(dag):
    assert list(dag.params) == [*DOCUMENTED[dag.dag_id].options]


def test_the_schedule_is_the_documented_one(dag):
    clock = getattr(dag.timetable, "timetable", dag.timetable)  # the clock of a schedule of clock or assets
    expression = getattr(clock, "expression", None)
    assert expression == DOCUMENTED[dag.dag_id].schedule


def test_the_folder_is_the_cadence(dag):
    folders = {None: "manual", "*/5 * * * *": "every_five_minutes", "*/15 * * * *": "quarter_hourly"}
    schedule = DOCUMENTED[dag.dag_id].schedule
    cadence = folders.get(schedule) or (
        "weekly" if schedule.endswith(" 0") else "hourly" if " * * * *" in schedule else "daily"
    )
    assert Path(dag.fileloc).parent.name == cadence


def test_it_is_explained(dag):
    text = dag.doc_md.strip()
    assert len(text.splitlines()) >= 4
    assert f"airflow dags trigger {dag.dag_id}" in text
    assert dag.description == text.splitlines()[0].rstrip(".")


def test_its_page_has_the_known_headings_in_their_order(dag):
    found = re.findall(r"^#+ .*", dag.doc_md, re.MULTILINE)
    assert found == [heading for name in HEADINGS if (heading := f"### {name}") in found]
    assert {"### What it does", "### When it runs", "### Trigger it"} <= set(found)


def test_the_example_of_the_docs_is_a_valid_run(dag):
    example = re.search(r"airflow dags trigger \S+(?: --conf '(?P<conf>.*)')?\s*$", dag.doc_md.strip())
    conf = json.loads(example["conf"]) if example["conf"] else {}
    for name, value in conf.items():
        assert dag.params.get_param(name).resolve(value) == value


def test_it_never_runs_twice_at_once_and_never_catches_up(dag):
    assert (dag.max_active_runs, dag.catchup) == (DOCUMENTED[dag.dag_id].active_runs, False)
    assert dag.dagrun_timeout > timedelta(minutes=1)


def test_its_tags_come_from_the_list(dag):
    assert set(dag.tags) <= {tag.value for tag in Tag}
    assert (Tag.COMMAND.value in dag.tags) == (dag.dag_id in COMMANDS)


def test_its_tasks_have_owner_retries_timeout_policy_and_callback(dag):
    for task in dag.tasks:
        assert task.owner == OWNER
        assert task.retries >= 1
        assert (task.execution_timeout or getattr(task, "response_timeout", None)) is not None
        assert task.retry_policy is not None
        assert task.on_failure_callback


def test_no_param_invites_a_secret(dag):
    assert [name for name in dag.params if SECRET_LIKE.search(name) and not name.endswith("_ref")] == []


def test_every_param_has_a_title_and_a_description(dag):
    for name, param in dag.params.items():
        assert param.schema.get("title"), name
        assert param.description, name


def test_the_defaults_are_valid(dag):
    for param in dag.params.values():
        if param.has_value:
            param.resolve()


def test_dags_md_is_current():
    subprocess.run([sys.executable, "docs/dags_md.py", "--check"], check=True, cwd=REPOSITORY)


def test_parsing_every_file_takes_under_half_a_second_beyond_importing_airflow():
    """In a fresh process, in CPU seconds, best of three: the machine is shared."""
    script = (
        "import sys, time, runpy, pathlib; sys.path.insert(0, 'plugins')\n"
        "from airflow.sdk import DAG, BaseOperator, Param, ExceptionRetryPolicy, CronTriggerTimetable, conf\n"
        "start = time.process_time()\n"
        "for path in sorted(pathlib.Path('dags').glob('*/*.py')): runpy.run_path(str(path))\n"
        "print(time.process_time() - start)\n"
        "heavy = {'stripe', 'ldap3', 'solders', 'solana', 'boto3', 'botocore', 'psycopg', 'alembic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    times = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        times.append(float(done.stdout.strip().splitlines()[-1]))
        if times[-1] < 0.5:
            break
    assert min(times) < 0.5, times


def test_only_the_plugin_is_loaded_when_airflow_starts():
    """Airflow imports every file below plugins/ that .airflowignore does not name."""
    from airflow._shared.module_loading import find_path_from_directory

    found = [Path(path) for path in find_path_from_directory(REPOSITORY / "plugins", ".airflowignore")]
    assert [path.name for path in found if path.suffix == ".py"] == ["plugin.py"]
