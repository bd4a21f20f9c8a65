"""What computed a run: versions, commit, machine."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from learnscope.laboratory.catalogue import code_of
from learnscope.laboratory.experiment import Experiment
from learnscope.laboratory.store import Folder

LIBRARIES = ("learnscope", "torch", "numpy", "scipy", "xarray", "distributed")
FILE = "provenance.json"
MOST_SESSIONS = 100


def session(experiment: Experiment, n_points: int) -> dict[str, Any]:
    """Return what is worth knowing about a session that computes ``n_points`` points."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "points": n_points,
        "code": code_of(experiment),
        "commit": _commit(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "machine": f"{platform.system()} {platform.machine()}",
        "host": platform.node(),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
    }


def add_session(folder: Folder, experiment: Experiment, n_points: int) -> None:
    """Add this session to a run's provenance."""
    known = (folder.read_json(FILE) or {}).get("sessions", [])
    folder.write_json(FILE, {"sessions": [*known, session(experiment, n_points)][-MOST_SESSIONS:]})


@cache
def _commit() -> str:
    """Return the commit of the working tree that this code lives in, or "" outside of one."""
    here = Path(__file__).parent
    try:
        asked = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", "-C", str(here), "rev-parse", "HEAD"],  # noqa: S607 - whichever git is on the path
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return asked.stdout.strip() if asked.returncode == 0 else ""
