"""The sandbox's command line: `python -m sandbox VERB`; the Makefile's verbs call it."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import sys
from typing import TYPE_CHECKING

from sandbox.airflow_api import AirflowApi
from sandbox.demo import run_demo
from sandbox.service import ServiceError
from sandbox.services.airflow import Airflow
from sandbox.services.application import DATABASE
from sandbox.services.postgres import PostgresServer
from sandbox.services.smtp import SmtpServer
from sandbox.supervisor import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_TRIGGER_SECONDS = 3600.0


def up(sandbox: Sandbox, _: argparse.Namespace) -> int:
    """Start every service that does not run, Airflow among them, and trigger nothing."""
    sandbox.up()
    print(f"The UI is at {sandbox.service(Airflow).base_url} (no log-in). Stop everything with `make stop`.")
    return 0


def down(sandbox: Sandbox, _: argparse.Namespace) -> int:
    """Stop every service; the data stay."""
    sandbox.down()
    return 0


def clean(sandbox: Sandbox, _: argparse.Namespace) -> int:
    """Stop every service and delete the data."""
    sandbox.clean()
    return 0


def status(sandbox: Sandbox, _: argparse.Namespace) -> int:
    """Tell of every service whether it runs and where; exit code 1 when one does not."""
    states = {name: service.status() for name, service in sandbox.services().items()}
    for name, state in states.items():
        print(f"{name:12} {'up  ' if state.running else 'down'}  {state.detail}")
    return 0 if all(state.running for state in states.values()) else 1


def logs(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    """Print the end of the logs of one service or of all."""
    services = sandbox.services()
    if arguments.service and arguments.service not in services:
        raise ServiceError(f"no service {arguments.service!r}; there are {', '.join(services)}")
    for name in [arguments.service] if arguments.service else services:
        print(f"===== {name}\n{services[name].logs(arguments.lines)}")
    return 0


def env(sandbox: Sandbox, _: argparse.Namespace) -> int:
    """Print the variables by which Airflow and the jobs find the services, for a shell to read."""
    for name, value in sorted(sandbox.environment().items()):
        print(f"export {name}={shlex.quote(value)}")
    return 0


def psql(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    """Open psql on a database, as superuser (so past row-level security); more arguments go to psql."""
    server = sandbox.service(PostgresServer)
    if not server.status().running:
        raise ServiceError("PostgreSQL is not running; `make up` starts it")
    beside = server.binaries() / "psql"
    program = str(beside) if beside.exists() else shutil.which("psql")
    if program is None:
        raise ServiceError(
            "there is no psql here: `apt-get install postgresql-client`, or use CP_OPS_DSN of `make env`"
        )
    sys.stdout.flush()
    os.execv(program, [program, server.dsn(arguments.database), *arguments.rest])  # noqa: S606


def mails(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    """List the mails that were sent, or show one."""
    kept = sandbox.service(SmtpServer).mails()
    if arguments.number is None:
        for mail in kept:
            to = ", ".join(mail.recipients)
            print(
                f"{mail.number:5}  {mail.received_at:%Y-%m-%d %H:%M:%S}  {to:40}  {mail.message['Subject']}"
            )
        print(f"{len(kept)} mails" + ("; `make mails NUMBER=n` shows one" if kept else ""))
        return 0
    for mail in kept:
        if mail.number == arguments.number:
            print(mail.path.read_text(encoding="utf-8", errors="replace"))
            return 0
    raise ServiceError(f"there is no mail {arguments.number}")


def trigger(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    """Start a job, wait for its end and print what it returned; exit code 1 when it failed."""
    try:
        conf = json.loads(arguments.conf or "{}")
    except ValueError as error:
        raise ServiceError(f"the configuration is not JSON: {error}") from error
    if not isinstance(conf, dict):
        raise ServiceError('the configuration must be a JSON object such as {"firm_id": 1}')
    api = AirflowApi(sandbox.service(Airflow).base_url)
    run = api.trigger(arguments.job, conf)
    api.unpause(arguments.job)
    print(f"{run.dag_id} triggered: {run.url}")
    run = api.wait(run, seconds=_TRIGGER_SECONDS)
    for value in api.returned_values(run):
        print(json.dumps(value, indent=2, ensure_ascii=False))
    print(f"{run.dag_id}: {run.state} after {run.seconds or 0:.1f} s")
    return 0 if run.state == "success" else 1


def demo(sandbox: Sandbox, arguments: argparse.Namespace) -> int:
    """Start from nothing, run every job once and print a table of what came of it."""
    return run_demo(sandbox, once=arguments.once)


def parser() -> argparse.ArgumentParser:
    """Build the command line's parser."""
    root = argparse.ArgumentParser(prog="python -m sandbox", description=__doc__)
    verbs = root.add_subparsers(required=True, metavar="VERB")

    def verb(action: Callable[[Sandbox, argparse.Namespace], int]) -> argparse.ArgumentParser:
        added = verbs.add_parser(action.__name__, help=action.__doc__, description=action.__doc__)
        added.set_defaults(action=action)
        return added

    for action in (up, down, clean, status, env):
        verb(action)
    with_logs = verb(logs)
    with_logs.add_argument("service", nargs="?")
    with_logs.add_argument("-n", "--lines", type=int, default=30)
    with_psql = verb(psql)
    with_psql.add_argument("database", nargs="?", default=DATABASE)
    with_psql.add_argument("rest", nargs=argparse.REMAINDER)
    verb(mails).add_argument("number", nargs="?", type=int)
    with_trigger = verb(trigger)
    with_trigger.add_argument("job", help="the DAG's id, which is the command's name")
    with_trigger.add_argument("conf", nargs="?", help="a JSON object of options")
    verb(demo).add_argument("--once", action="store_true", help="stop everything at the end")
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return its exit code."""
    parsed = parser().parse_args(arguments)
    try:
        code: int = parsed.action(Sandbox(), parsed)
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return code


if __name__ == "__main__":
    sys.exit(main())
