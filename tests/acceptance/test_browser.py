"""The trigger forms and the operations page in a real browser: Debian's chromium, driven by its chromedriver."""

from __future__ import annotations

import pytest

from tests.acceptance.trigger_form import SECONDS, Form, newest_run

pytestmark = [pytest.mark.scheduler, pytest.mark.browser]


@pytest.mark.parametrize(
    ("dag_id", "labels"),
    [
        (
            "provision_firm",
            ("Name", "Slug", "Administrator's e-mail", "Password reference", "Currency", "Tier"),
        ),
        ("export_user_data", ("User", "Where to", "Format", "Dry run")),
        ("execute_erasure_request", ("Request", "Ask for approval", "Dry run")),
        ("execute_retention_policies", ("Firm", "Data type", "Minutes at most", "Dry run")),
        ("process_recurring_charges", ("Firm", "Most charges", "Most in all", "Approved plan", "Dry run")),
        ("refresh_materialized_views", ("View", "Concurrently", "Dry run")),
        ("solana_payments_maintenance", ("Dry run",)),
    ],
)
def test_the_form_reads_well(dag_id, labels, api, driver, tmp_path):
    form = Form(driver, api.base_url, dag_id)
    assert form.shows(*labels)
    assert "null" not in form.text.split()
    driver.save_screenshot(str(tmp_path / f"{dag_id}.png"))


@pytest.mark.parametrize(
    ("dag_id", "typed", "shown"),
    [
        ("reconcile_s3", {"firm_id": "1"}, ("Firm", "Deep", "Dry run")),
        ("cleanup_webhook_events", {"days": "400"}, ("Days to keep", "Provider", "Dry run")),
        ("check_stale_deals", {"firm_id": "1", "days": "45"}, ("Firm", "Days without activity", "Dry run")),
    ],
)
def test_the_form_starts_a_run_with_what_was_typed(dag_id, typed, shown, api, driver):
    before = {run.run_id for run in api.runs(dag_id)}
    form = Form(driver, api.base_url, dag_id)
    assert form.shows(*shown)
    for param, text in typed.items():
        form.type(param, text)
    form.switch("dry_run")
    assert form.submit()
    assert form.closed(SECONDS)

    run = newest_run(api, dag_id, SECONDS, before)
    assert run is not None
    conf = api.conf(run)
    assert conf["dry_run"] is True
    assert {param: conf[param] for param in typed} == {param: int(text) for param, text in typed.items()}
    assert api.wait(run, seconds=120).state == "success"


@pytest.mark.parametrize(
    ("dag_id", "typed"),
    [
        ("reconcile_s3", {"firm_id": "-4"}),
        ("cleanup_webhook_events", {"days": "7"}),
        ("check_stale_deals", {"days": "0"}),
    ],
)
def test_the_form_does_not_start_a_run_with_bad_params(dag_id, typed, api, driver):
    """The field takes back what its limits forbid, or Airflow refuses it; either way nothing bad is ever started."""
    before = {run.run_id for run in api.runs(dag_id)}
    form = Form(driver, api.base_url, dag_id)
    for param, text in typed.items():
        form.type(param, text)
    form.switch("dry_run")
    if form.submit() and form.closed(8):
        run = newest_run(api, dag_id, SECONDS, before)
        conf = api.conf(run)
        assert all(conf[param] != int(text) for param, text in typed.items()), conf
    else:
        assert newest_run(api, dag_id, 2, before) is None


def test_the_operations_page_shows_runs_and_findings_inside_the_ui(api, driver):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.wait import WebDriverWait

    assert api.wait(api.trigger("reconcile_s3", {"firm_id": 1}), seconds=120).state == "success"
    driver.get(f"{api.base_url}/plugin/cp-ops")
    frame = WebDriverWait(driver, SECONDS).until(lambda d: d.find_element(By.TAG_NAME, "iframe"))
    driver.switch_to.frame(frame)
    text = driver.find_element(By.TAG_NAME, "body").text
    assert "reconcile_s3" in text
    assert "missing_object" in text
    assert "documents_versions:" in text
