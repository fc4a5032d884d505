"""Section [cp_ops] as one typed object: a wrong value is one error that names the setting."""

from __future__ import annotations

import pytest

from cp_ops.runtime.errors import SettingError
from cp_ops.runtime.settings import Settings


def load(environ=None, **options):
    return Settings.load(options.get, environ or {})


def test_defaults_work_without_any_configuration():
    assert load() == Settings()


def test_texts_of_the_configuration_become_values():
    settings = load(
        timezone="Europe/Paris",
        stale_deals_max_changes="5",
        frontend_url="https://app.example.com/",
        kms_backend="aws",
    )
    assert (settings.timezone, settings.stale_deals_max_changes, settings.kms_backend) == (
        "Europe/Paris",
        5,
        "aws",
    )
    assert settings.frontend_url == "https://app.example.com"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("timezone", "Mars/Olympus", "'Mars/Olympus' is not an IANA time zone"),
        ("timezone", "../etc/passwd", "is not an IANA time zone"),
        ("timezone", "", "is not an IANA time zone"),
        ("frontend_url", "app.example.com", "must be an absolute URL"),
        ("webhook_retention_days", "29", "Input should be greater than or equal to 30"),
        ("webhook_retention_days", "many", "Input should be a valid integer"),
        ("stale_deals_max_changes", "-1", "Input should be greater than or equal to 0"),
        ("s3_min_listing_share", "1.5", "Input should be less than or equal to 1"),
        ("kms_backend", "azure", "Input should be 'local' or 'aws'"),
    ],
)
def test_a_wrong_value_names_the_setting_and_where_to_set_it(name, text, says):
    with pytest.raises(SettingError) as wrong:
        load(**{name: text})
    assert wrong.value.setting == name
    assert str(wrong.value).startswith(f"[cp_ops] {name}: ")
    assert says in str(wrong.value)
    assert str(wrong.value).endswith(f"(set it in airflow.cfg or as AIRFLOW__CP_OPS__{name.upper()})")


def test_the_documented_environment_variable_is_honoured_where_the_setting_is_not_given():
    assert load({"WEBHOOK_RETENTION_DAYS": "90"}).webhook_retention_days == 90
    assert load({"WEBHOOK_RETENTION_DAYS": "90"}, webhook_retention_days="60").webhook_retention_days == 60
    assert load({"WEBHOOK_RETENTION_DAYS": ""}).webhook_retention_days == 180
    with pytest.raises(SettingError, match=r"^\[cp_ops\] webhook_retention_days: "):
        load({"WEBHOOK_RETENTION_DAYS": "7"})


def test_a_setting_that_a_job_needs_is_asked_for_with_the_reason():
    assert (
        load(default_from_email="a@example.com").require("default_from_email", why="mails need one")
        == "a@example.com"
    )
    with pytest.raises(
        SettingError, match=r"\[cp_ops\] frontend_url: is empty, but links in mails start with it"
    ):
        load().require("frontend_url", why="links in mails start with it")


def test_every_setting_is_described():
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
