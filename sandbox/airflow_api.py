"""A small client of Airflow's REST API (v2): trigger a DAG, follow its run, read what its task returned."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

from sandbox.service import ServiceError

FINISHED = frozenset({"success", "failed"})
_PAGE = 100


class ApiError(ServiceError):
    """Airflow answered a request with an error."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"Airflow answered {status}: {detail}")
        self.status = status


@dataclass(frozen=True)
class Run:
    """One DAG run."""

    dag_id: str
    run_id: str
    state: str
    seconds: float | None
    url: str


class AirflowApi:
    """The REST API of the Airflow at `base_url`, as its single all-powerful user."""

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url
        self._token: str | None = None

    def dags(self, *, tag: str | None = None) -> list[dict[str, Any]]:
        """Return the DAGs that Airflow has parsed, those with `tag` if one is given."""
        found: list[dict[str, Any]] = []
        while True:
            query = {"limit": _PAGE, "offset": len(found)} | ({"tags": tag} if tag else {})
            page = self._request("GET", f"/dags?{urllib.parse.urlencode(query)}")
            found += page["dags"]
            if len(found) >= page["total_entries"] or not page["dags"]:
                return found

    def import_errors(self) -> list[str]:
        """Return what is wrong with the DAG files that could not be read, one text each."""
        errors = self._request("GET", f"/importErrors?limit={_PAGE}")["import_errors"]
        return [f"{error['filename']}:\n{error['stack_trace']}" for error in errors]

    def unpause(self, dag_id: str) -> None:
        """Let a DAG's runs start."""
        self._request("PATCH", f"/dags/{urllib.parse.quote(dag_id)}", {"is_paused": False})

    def trigger(self, dag_id: str, conf: dict[str, Any], *, run_id: str | None = None) -> Run:
        """Start a manual run, named by Airflow or `run_id`. Raises ApiError when the DAG refuses `conf`."""
        body = {"logical_date": None, "conf": conf} | ({"dag_run_id": run_id} if run_id else {})
        return self._run(self._request("POST", f"/dags/{urllib.parse.quote(dag_id)}/dagRuns", body))

    def run(self, dag_id: str, run_id: str) -> Run:
        """Return the present state of a run."""
        return self._run(self._request("GET", self._run_path(dag_id, run_id)))

    def create_connection(self, connection_id: str, *, password: str, kind: str = "generic") -> None:
        """Store a connection in Airflow."""
        body = {"connection_id": connection_id, "conn_type": kind, "password": password}
        self._request("POST", "/connections", body)

    def runs(self, dag_id: str) -> list[Run]:
        """Return a DAG's newest runs."""
        query = urllib.parse.urlencode({"limit": _PAGE, "order_by": "-start_date"})
        answer = self._request("GET", f"/dags/{urllib.parse.quote(dag_id)}/dagRuns?{query}")
        return [self._run(entry) for entry in answer["dag_runs"]]

    def conf(self, run: Run) -> dict[str, Any]:
        """Return the params that a run was given."""
        conf: dict[str, Any] = self._request("GET", self._run_path(run.dag_id, run.run_id))["conf"] or {}
        return conf

    def wait(self, run: Run, *, seconds: float, poll: float = 1.0) -> Run:
        """Wait until the run has ended and return it. Raises ServiceError when it takes longer than `seconds`."""
        deadline = time.monotonic() + seconds
        while run.state not in FINISHED:
            if time.monotonic() > deadline:
                raise ServiceError(f"{run.dag_id} is still {run.state} after {seconds:.0f} s: {run.url}")
            time.sleep(poll)
            run = self.run(run.dag_id, run.run_id)
        return run

    def returned_values(self, run: Run) -> list[dict[str, Any]]:
        """Return the outcomes that the run's tasks returned (XCom `return_value`), in the order of their start."""
        path = self._run_path(run.dag_id, run.run_id)
        tasks = self._request("GET", f"{path}/taskInstances?limit={_PAGE}")["task_instances"]
        values = []
        for task in sorted(tasks, key=lambda entry: entry["start_date"] or ""):
            try:
                entry = self._request(
                    "GET",
                    f"{path}/taskInstances/{urllib.parse.quote(task['task_id'])}/xcomEntries/return_value?stringify=false",
                )
            except ApiError as error:
                if error.status != 404:
                    raise
                continue
            if isinstance(entry["value"], dict):
                values.append(entry["value"])
        return values

    def log(self, run: Run, task_id: str, *, attempt: int = 1) -> str:
        """Return the log of one attempt of a task, one event per line."""
        path = f"{self._run_path(run.dag_id, run.run_id)}/taskInstances/{urllib.parse.quote(task_id)}/logs/{attempt}"
        content = self._request("GET", f"{path}?full_content=true")["content"]
        return "\n".join(_event_text(event) for event in content)

    def _run(self, answer: dict[str, Any]) -> Run:
        dag_id, run_id = answer["dag_id"], answer["dag_run_id"]
        url = (
            f"{self.base_url}/dags/{urllib.parse.quote(dag_id)}/runs/{urllib.parse.quote(run_id, safe=':+')}"
        )
        return Run(dag_id, run_id, answer["state"], answer.get("duration"), url)

    @staticmethod
    def _run_path(dag_id: str, run_id: str) -> str:
        return f"/dags/{urllib.parse.quote(dag_id)}/dagRuns/{urllib.parse.quote(run_id, safe='')}"

    def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        if self._token is None:
            self._token = self._send("GET", f"{self.base_url}/auth/token", None, {})["access_token"]
        return self._send(
            method, f"{self.base_url}/api/v2{path}", body, {"Authorization": f"Bearer {self._token}"}
        )

    @staticmethod
    def _send(method: str, url: str, body: dict[str, Any] | None, headers: dict[str, str]) -> Any:
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  our own server on 127.0.0.1
            url, content, {"Content-Type": "application/json", **headers}, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ApiError(error.code, _detail(error.read())) from error
        except OSError as error:
            raise ServiceError(
                f"Airflow does not answer at {url}: {error}; is it up? `make status`"
            ) from error


def _event_text(event: Any) -> str:
    """Return what a reader of the log sees of an event: its text, and an exception's own message."""
    if not isinstance(event, dict):
        return str(event)
    errors = [
        f"{detail.get('exc_type')}: {detail.get('exc_value')}" for detail in event.get("error_detail") or []
    ]
    return "\n".join([str(event.get("event", "")), *errors])


def _detail(content: bytes) -> str:
    try:
        detail = json.loads(content)["detail"]
    except (ValueError, KeyError, TypeError):
        return content.decode(errors="replace")[:500]
    return detail if isinstance(detail, str) else json.dumps(detail)
