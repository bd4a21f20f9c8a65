"""Run every benchmark, one after another, and keep what they print in ``benchmarks/results/``.

Peers live in an environment of their own, made by ``benchmarks/peers.sh``; without it, their comparisons are skipped
and the output says so.
"""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).parent
PEERS = HERE / ".environments" / "peers" / "bin" / "python"
BENCHMARKS = (
    "two_nn",
    "cka",
    "svcca",
    "overhead",
    "sweep",
    "mixed_dynamics",
    "matrix_completion",
    "tangent_kernel",
    "one_hidden_layer",
    "proximal_flow",
    "module_flow",
)


def main() -> int:
    """Run them and return the number of benchmarks that failed."""
    python = str(PEERS) if PEERS.exists() else sys.executable
    results = HERE / "results" / f"{platform.machine()}-{os.cpu_count()}-cores.txt"
    failed = 0
    with results.open("w") as kept:
        for name in BENCHMARKS:
            headline = f"== benchmarks/{name}.py"
            for stream in (sys.stdout, kept):
                print(headline, file=stream, flush=True)
            failed += _run([python, str(HERE / f"{name}.py")], kept) != 0
    print(f"kept in {results.relative_to(HERE.parent)}")
    return failed


def _run(command: list[str], kept: TextIO) -> int:
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            print(line, end="", file=kept, flush=True)
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
