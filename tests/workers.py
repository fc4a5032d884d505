"""How `make test` shares its tests out: to how many workers, and what stays together.

Every worker has peers of its own (PostgreSQL, S3, SMTP, Stripe), Airflow in a home of its own, and ports that nobody
else is given.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest
    from xdist.remote import Producer

EVERYTHING = "not nightly"
"""What pyproject.toml selects when nobody asks for a selection."""
MOST = 4
TOGETHER = ("tests/acceptance", "tests/dags")
"""Folders whose tests share what takes long to make: a running Airflow, a metadata database."""
ALONE = (
    "tests/dags/test_every_dag.py::test_parsing_every_file_takes_under_a_fifth_of_a_second_and_a_further_one_at_most_ten_milliseconds",
)
"""What measures CPU time, which a busy neighbour core makes longer. They come last, and no other test runs beside them."""


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
        if nodeid in ALONE:
            return nodeid
        file = nodeid.split("::", 1)[0]
        return next((folder for folder in TOGETHER if file.startswith(f"{folder}/")), file)


@contextmanager
def turn(nodeid: str, lock: Path = Path(__file__)) -> Iterator[None]:
    """Wait until this test may run beside those that other workers run now, and keep out what may not run beside it."""
    with lock.open(encoding="utf-8") as everybodys:
        fcntl.flock(everybodys, fcntl.LOCK_EX if nodeid in ALONE else fcntl.LOCK_SH)
        yield
