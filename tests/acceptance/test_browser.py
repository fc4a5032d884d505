"""The trigger forms and the operations page in a real browser: Debian's chromium, driven by its chromedriver."""

from __future__ import annotations

import os
import time
from contextlib import suppress

import pytest

from tests.acceptance.conftest import chromium

pytestmark = [pytest.mark.scheduler, pytest.mark.browser]

if chromium() is None:
    if os.environ.get("CI"):
        pytest.fail("CI must have chromium and chromedriver: .ci/run installs them", pytrace=False)
    pytest.skip("needs a browser: apt-get install chromium chromium-driver", allow_module_level=True)

FLAGS = (
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
SECONDS = 40


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    """A browser with a profile of its own."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = chromium()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService("/usr/bin/chromedriver"))
    yield driver
    driver.quit()


class Form:
    """The trigger form of one DAG, as a person sees it."""

    def __init__(self, driver, base_url, dag_id):
        self._driver = driver
        driver.get(f"{base_url}/dags/{dag_id}")
        self.wait("[data-testid='trigger-dag-button']").click()
        self.wait("[role=dialog][data-scope=dialog] [name=element_dry_run]")

    def wait(self, selector):
        """Wait for an element, and give it."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.wait import WebDriverWait

        return WebDriverWait(self._driver, SECONDS).until(
            lambda d: d.find_element(By.CSS_SELECTOR, selector), selector
        )

    def shows(self, *labels):
        """Tell whether the form shows these labels, once it has faded in."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.support.wait import WebDriverWait

        dialog = self.wait("[role=dialog][data-scope=dialog]")
        with suppress(TimeoutException):
            return WebDriverWait(self._driver, SECONDS).until(
                lambda _: all(label in dialog.text for label in labels)
            )
        return False

    def type(self, param, text):
        """Type into a field."""
        self.wait(f"[role=dialog][data-scope=dialog] input[name=element_{param}]").send_keys(text + "\t")

    def switch(self, param):
        """Click a switch; its input is hidden behind what is drawn."""
        self._driver.execute_script(
            "arguments[0].click()", self.wait(f"[role=dialog][data-scope=dialog] [name=element_{param}]")
        )

    def submit(self):
        """Press Trigger; gives whether the form let it."""
        from selenium.webdriver.common.by import By

        buttons = self._driver.find_elements(By.CSS_SELECTOR, "[role=dialog][data-scope=dialog] button")
        (button,) = [button for button in buttons if button.text == "Trigger"]
        enabled = button.is_enabled()
        if enabled:
            button.click()
        return enabled

    def closed(self, seconds):
        """Tell whether the form went away, as it does once Airflow has accepted the run."""
        from selenium.common.exceptions import TimeoutException
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.wait import WebDriverWait

        with suppress(TimeoutException):
            WebDriverWait(self._driver, seconds).until(
                lambda d: not d.find_elements(By.CSS_SELECTOR, "[role=dialog][data-scope=dialog] [name=element_dry_run]")
            )
            return True
        return False


def newest_run(api, dag_id, seconds, than):
    """Wait for a run that was not there before."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = [run for run in api.runs(dag_id) if run.run_id not in than]
        if found:
            return found[0]
        time.sleep(0.5)
    return None


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
