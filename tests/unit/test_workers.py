"""To how many workers `make test` shares its tests out, and what stays together."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest
from xdist.remote import Producer

from tests import workers
from tests.airflow_environment import REPOSITORY


@pytest.fixture
def command_line(monkeypatch):
    """Parse what follows `pytest`, from the repository's root on a machine of three cores."""
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    monkeypatch.chdir(REPOSITORY)

    def parse(*arguments):
        return pytest.Config.fromdictargs({}, ["-m", workers.EVERYTHING, *arguments])

    return parse


@pytest.mark.parametrize("arguments", [("tests",), ("tests/unit", "tests/dags/"), ("-x", "tests")])
def test_whole_folders_go_to_a_worker_per_core(command_line, arguments):
    assert workers.how_many(command_line(*arguments)) == 3


@pytest.mark.parametrize(
    "arguments",
    [
        ("-k", "webhook", "tests"),
        ("-m", "nightly", "tests"),
        ("--lf", "tests"),
        ("tests/unit/test_workers.py",),
        ("tests/unit", "tests/unit/test_workers.py::test_a_selection_runs_here"),
        ("--pdb", "tests"),
        ("-s", "tests"),
    ],
)
def test_a_selection_runs_here(command_line, arguments):
    assert workers.how_many(command_line(*arguments)) == 0


def test_many_cores_are_not_all_used(command_line, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert workers.how_many(command_line("tests")) == workers.MOST


def test_a_file_stays_together_and_so_do_the_folders_that_share_an_airflow(command_line):
    units = workers.Units(command_line("--tx=popen", "tests"), Producer("quiet", enabled=False))
    tests = [
        "tests/acceptance/test_browser.py::test_a[1::2]",
        "tests/acceptance/test_triggers.py::test_b",
        "tests/dags/test_runs.py::test_c",
        workers.ALONE[0],
        "tests/integration/test_x.py::test_d",
        "tests/integration/test_x.py::TestE::test_f",
    ]
    assert [units._split_scope(test) for test in tests] == [
        "tests/acceptance",
        "tests/acceptance",
        "tests/dags",
        workers.ALONE[0],
        "tests/integration/test_x.py",
        "tests/integration/test_x.py",
    ]


def test_what_runs_alone_is_there():
    """A test that is renamed must be renamed in the list, too."""
    for test in workers.ALONE:
        file, name = test.split("::")
        assert f"def {name}(" in (REPOSITORY / file).read_text(encoding="utf-8")


def test_what_runs_alone_waits_for_the_others_and_they_wait_for_it(tmp_path):
    lock, alone, others, end = tmp_path / "lock", Event(), Event(), Event()
    lock.touch()

    def take(test, entered):
        with workers.turn(test, lock):
            entered.set()
            end.wait(30)

    with ThreadPoolExecutor() as pool:
        with workers.turn("test_a", lock), workers.turn("test_b", lock):
            pool.submit(take, workers.ALONE[0], alone)
            assert not alone.wait(0.2)
        assert alone.wait(30)
        pool.submit(take, "test_a", others)
        assert not others.wait(0.2)
        end.set()
        assert others.wait(30)
