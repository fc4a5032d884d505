"""Generate DAGS.md and README.md's tables from the DAG files and the settings.

`python docs/dags_md.py` writes them, `--check` fails when one is out of date.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import readme_tables

if TYPE_CHECKING:
    from airflow.sdk import DAG, Param

REPOSITORY = Path(__file__).resolve().parent.parent
TARGET = REPOSITORY / "DAGS.md"
README = REPOSITORY / "README.md"

HEAD = """# DAGs

Generated from the DAG files by `make docs`; the text of each DAG is the page that the Airflow UI shows.

| DAG | schedule | options |
|---|---|---|
"""


def load_dags() -> dict[str, DAG]:
    """Parse the DAG files as Airflow would, without a metadata database."""
    os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="cp-ops-docs-"))
    os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(REPOSITORY / "plugins")
    sys.path[:0] = [str(REPOSITORY / "plugins")]
    from airflow.dag_processing.dagbag import DagBag

    logging.disable(logging.INFO)
    bag = DagBag(str(REPOSITORY / "dags"))
    if bag.import_errors:
        raise SystemExit("\n".join(f"{file}: {error}" for file, error in bag.import_errors.items()))
    return dict(sorted(bag.dags.items()))


def render(dags: dict[str, DAG]) -> str:
    """Lay out the reference."""
    lines = [HEAD.rstrip("\n")]
    for dag_id, dag in dags.items():
        options = ", ".join(f"`{name}`" for name in dag.params)
        lines.append(f"| [{dag_id}](#{dag_id}) | {schedule(dag)} | {options or '-'} |")
    for dag_id, dag in dags.items():
        lines += ["", f"## {dag_id}", "", (dag.doc_md or "").strip(), "", *_options(dag)]
    return "\n".join(lines).rstrip() + "\n"


def schedule(dag: DAG) -> str:
    """Say when a DAG runs."""
    clock = getattr(dag.timetable, "timetable", dag.timetable)
    expression = getattr(clock, "expression", None)
    if expression:
        assets = "" if clock is dag.timetable else ", and after changes to the data that it reads"
        return f"`{expression}`{assets}"
    return "manual" if dag.schedule is None else dag.timetable.__class__.__name__


def _options(dag: DAG) -> list[str]:
    if not dag.params:
        return []
    lines = ["### Every option", "", "| option | type | default | what it does |", "|---|---|---|---|"]
    for name, param in params_of(dag).items():
        lines.append(f"| `{name}` | {_kind(param)} | {_default(param)} | {param.description or ''} |")
    return lines


def params_of(dag: DAG) -> dict[str, Param]:
    """Give a DAG's params with their schemas; as a mapping it gives their values."""
    return {name: dag.params.get_param(name) for name in dag.params}


def _kind(param: Param) -> str:
    kinds = param.schema.get("type")
    names = [kind for kind in (kinds if isinstance(kinds, list) else [kinds]) if kind != "null"]
    choices = [f"`{choice}`" for choice in param.schema.get("enum", []) if choice is not None]
    return ", ".join(choices or map(str, names))


def _default(param: Param) -> str:
    if param.has_value:
        return f"`{json.dumps(param.value)}`"
    return "empty" if "null" in (param.schema.get("type") or []) else "required"


def main(arguments: list[str]) -> int:
    """Write or check the pages."""
    dags = load_dags()
    pages = {
        TARGET: render(dags),
        README: readme_tables.fill(README.read_text(encoding="utf-8"), dags, schedule),
    }
    if arguments != ["--check"]:
        for path, page in pages.items():
            path.write_text(page, encoding="utf-8")
        return 0
    stale = [
        path.name
        for path, page in pages.items()
        if not path.exists() or path.read_text(encoding="utf-8") != page
    ]
    if stale:
        sys.stderr.write(f"{' and '.join(stale)} out of date: run `make docs`\n")
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
