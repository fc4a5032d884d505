"""How `make test` shares its tests out: to how many workers, and what stays together.

Every worker has peers of its own (PostgreSQL, S3, SMTP, Stripe), Airflow in a home of its own, and ports that nobody
else is given.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    import pytest
    from xdist.remote import Producer

EVERYTHING = "not nightly"
"""What pyproject.toml selects when nobody asks for a selection."""
MOST = 4
TOGETHER = ("tests/acceptance", "tests/dags")
"""Folders whose tests share what takes long to make: a running Airflow, a metadata database."""


def how_many(config: pytest.Config) -> int:
    """Give a worker per core to whole folders. A selection gets none: each worker would collect longer than it tests."""
    option = config.option
    selected = option.keyword or option.markexpr != EVERYTHING or config.getoption("lf", default=False)
    watched = option.capture == "no" or option.usepdb
    if selected or watched or not all((config.invocation_params.dir / name).is_dir() for name in config.args):
        return 0
    return min(os.cpu_count() or 1, MOST)


class Units(LoadScopeScheduling):
    """Hands out whole files, as modules have fixtures, and each folder of TOGETHER as one.

    In the order of collection: the long ones come first, the many short files of tests/unit fill up the end.
    """

    def __init__(self, config: pytest.Config, log: Producer) -> None:
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)
