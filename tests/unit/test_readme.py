"""README.md says what is there: the commands, the connections, the settings, the examples."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re

import pytest

import cp_ops.operators
from cp_ops.runtime.settings import Settings
from tests.airflow_environment import DAGS, REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PAGES = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "DAGS.md")]
PAGES += sorted((REPOSITORY / "docs").rglob("*.md"))
DOCUMENTS = {
    "ConsultantPro, Management Commands Reference": [
        "reconcile_stripe",
        "refresh_materialized_views",
        "process_recurring_charges",
        "generate_package_invoices",
        "provision_firm",
        "execute_retention_policies",
        "export_user_data",
        "execute_erasure_request",
        "cleanup_webhook_events",
        "send_file_request_reminders",
        "reconcile_s3",
        "execute_pending_workflows",
        "check_stale_deals",
        "send_stale_deal_reminders",
        "sync_ad",
    ],
    "django-solana-payments, Management Commands": [
        "close_expired_solana_payments_with_wallets",
        "send_solana_payments_from_one_time_wallets",
        "close_expired_one_time_wallets_and_reclaim_funds",
        "recheck_initiated_solana_payments",
    ],
}
"""The commands of the two documents, in their order: written down from them, not from the generator."""


def table(name):
    """Give the cells of a generated table."""
    block = re.search(rf"<!-- {name}: .*?-->\n(.*?)<!-- /{name} -->", README, re.DOTALL)[1]
    rows = [re.split(r" ?\| ?", line.strip().strip("|").strip()) for line in block.splitlines()]
    return rows[2:]


def linked(cell):
    found = re.fullmatch(r"\[(\w+)\]\(DAGS\.md#(\w+)\)", cell)
    assert found is None or found[1] == found[2]
    return found[1] if found else cell


def test_the_table_lists_the_nineteen_commands_of_the_two_documents():
    expected = [name for names in DOCUMENTS.values() for name in names]
    assert len(expected) == 19
    assert [linked(row[0]) for row in table("commands")] == expected


def test_a_command_is_there_exactly_when_its_dag_is():
    files = {path.stem for path in DAGS.glob("*/*.py")}
    for row in table("commands"):
        name = linked(row[0])
        assert (row[1] == "yes") == (name in files), f"{name}: run `make docs`"
        assert (row[1] == "yes") == row[0].startswith("["), name
        assert row[1] in {"yes", "not yet"}


def test_the_other_dags_are_the_remaining_files():
    commands = {name for names in DOCUMENTS.values() for name in names}
    files = {path.stem for path in DAGS.glob("*/*.py")}
    assert {linked(row[0]) for row in table("others")} == files - commands


def test_the_schedule_is_the_one_in_the_dag_file():
    schedules = {row[0]: row[2] for row in table("commands")} | {row[0]: row[1] for row in table("others")}
    schedules = {linked(name): schedule for name, schedule in schedules.items()}
    for path in DAGS.glob("*/*.py"):
        written = re.search(r'schedule=(?:"([^"]+)"|None)', path.read_text(encoding="utf-8"))
        # A schedule may be followed by what else starts a run.
        assert schedules[path.stem].split(", and ")[0] == (f"`{written[1]}`" if written[1] else "manual")


def test_the_settings_table_is_the_settings_object():
    rows = [(name.strip("`"), default.strip("`"), meaning) for name, default, meaning in table("settings")]
    defaults = {name: getattr(Settings(), name) for name in Settings.model_fields}
    assert rows == [
        (name, "empty" if defaults[name] in ("", {}) else str(defaults[name]), field.description)
        for name, field in Settings.model_fields.items()
    ]


def connection_ids():
    """The defaults of every operator's `*_conn_id` arguments."""
    found = {"slack_default"}
    for module in pkgutil.iter_modules(cp_ops.operators.__path__, "cp_ops.operators."):
        for _, kind in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            if kind.__module__.startswith("cp_ops."):
                parameters = inspect.signature(kind.__init__).parameters.values()
                found |= {p.default for p in parameters if p.name.endswith("_conn_id") and p.default}
    return {conn_id for conn_id in found if isinstance(conn_id, str)}


def examples():
    return json.loads(re.search(r"```json\n(.*?)```", README, re.DOTALL)[1])


def test_every_connection_that_an_operator_takes_is_documented_with_an_example():
    documented = set(re.findall(r"^\| `(\w+)` \| ", README.split("### Connections")[1], re.MULTILINE))
    assert connection_ids() == set(examples()) == documented - set(Settings.model_fields)


@pytest.mark.parametrize("conn_id", sorted(examples()))
def test_the_example_is_a_connection_that_airflow_understands(conn_id):
    from airflow.models.connection import Connection

    fields = examples()[conn_id]
    connection = Connection.from_json(json.dumps(fields), conn_id=conn_id)
    assert connection.conn_type == fields["conn_type"]
    assert connection.extra_dejson == fields.get("extra", {})


def test_examples_of_commands_are_json_that_the_options_accept():
    from cp_ops.privacy.webhook_cleanup.options import CleanupWebhookEventsOptions
    from cp_ops.runtime.errors import OptionsError

    good = [json.loads(conf) for conf in re.findall(r"cleanup_webhook_events --conf '(.*?)'", README)]
    good.append(json.loads(re.search(r"-d '(\{\"logical_date.*\})'", README)[1])["conf"])
    for conf in good:
        assert CleanupWebhookEventsOptions.parse(conf).recorded() == {"provider": None, **conf}
    with pytest.raises(OptionsError, match=r"^days: "):
        CleanupWebhookEventsOptions.parse({"days": 7})
    with pytest.raises(OptionsError) as refused:
        CleanupWebhookEventsOptions.parse({"dasy": 90})
    assert str(refused.value) in " ".join(README.split())


def test_the_verbs_of_make_exist():
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    texts = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    named = set(re.findall(r"(?:`|^    )make ([a-z]+)", texts, re.MULTILINE))
    assert {"demo", "test"} <= named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_and_named_files_exist(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), target
    roots = "dags|plugins|include|sandbox|tests|docs"
    for named in re.findall(rf"`((?:{roots})/[\w./-]+)`", text):
        assert (REPOSITORY / named).exists(), named
