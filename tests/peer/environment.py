"""A virtual environment with django-solana-payments, made once: its pins conflict with this package's own lock.

CP_OPS_PEER_PYTHON names an interpreter that has it already; otherwise `.sandbox/peer/` is filled from
tests/peer/requirements.txt, and filled anew when that file changes.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
REQUIREMENTS = HERE / "requirements.txt"
ENVIRONMENT = HERE.parents[1] / ".sandbox" / "peer"


def peer_python() -> Path:
    """Return an interpreter that can import django_solana_payments."""
    if given := os.environ.get("CP_OPS_PEER_PYTHON"):
        return Path(given)
    python = ENVIRONMENT / "bin" / "python"
    stamp = ENVIRONMENT / hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:16]
    if not stamp.exists():
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        uv = [sys.executable, "-m", "uv"]
        subprocess.run([*uv, "venv", "--quiet", "--clear", "--python", version, ENVIRONMENT], check=True)
        subprocess.run([*uv, "pip", "install", "--quiet", "--python", python, "-r", REQUIREMENTS], check=True)
        stamp.touch()
    return python


def run_peer(script: str, *arguments: str, environment: dict[str, str]) -> str:
    """Run a script of this folder under the peer's interpreter; return what it printed."""
    done = subprocess.run(
        [peer_python(), HERE / script, *arguments],
        env={
            **os.environ,
            "PYTHONPATH": str(HERE),
            "DJANGO_SETTINGS_MODULE": "django_settings",
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{script} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return done.stdout
