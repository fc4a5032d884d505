"""The one place where Airflow's configuration is read: section [cp_ops]."""

from __future__ import annotations

import os

from airflow.sdk import conf
from airflow.sdk.exceptions import AirflowFailException

from cp_ops.runtime.errors import SettingError
from cp_ops.runtime.settings import Settings

SECTION = "cp_ops"


def load_settings() -> Settings:
    """Read every setting, for a task.

    :raises AirflowFailException: naming the setting that is wrong.
    """
    try:
        return Settings.load(_option, os.environ)
    except SettingError as error:
        raise AirflowFailException(str(error)) from None


def schedule_timezone() -> str:
    """Read the time zone of the schedules, for a DAG file.

    The other settings are left unread: a wrong one of them must fail its tasks, not hide every DAG from the UI.

    :raises SettingError: when it is no time zone; Airflow shows it as the DAG file's import error.
    """
    return Settings.load_timezone(_option)


def _option(name: str) -> str | None:
    return conf.get(SECTION, name, fallback=None)
