"""The trigger form of the Airflow UI in a browser, as a person uses it."""

from __future__ import annotations

import time
from contextlib import suppress

SECONDS = 40
"""How long a page may take on a busy machine."""


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

    @property
    def text(self):
        """Everything that the form shows."""
        return self.wait("[role=dialog][data-scope=dialog]").text

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
                lambda d: (
                    not d.find_elements(
                        By.CSS_SELECTOR, "[role=dialog][data-scope=dialog] [name=element_dry_run]"
                    )
                )
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
