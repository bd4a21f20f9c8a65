"""Triton's kernels give what the reference gives, run by Triton's interpreter, and compile for a card that is not here.

Whether a kernel is interpreted is decided when it is imported, so each takes a process of its own.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not installed")


def run(script, folder, **environment):
    """Run a script on one thread."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "TRITON_CACHE_DIR": str(folder), **environment}
    return subprocess.run(
        [sys.executable, *script], env=variables, cwd=HERE.parents[2], capture_output=True, text=True, timeout=280
    )


@needs_triton
def test_interpreted_kernels_agree_with_the_reference(tmp_path):
    agree(tmp_path, TRITON_INTERPRET="1")


@needs_triton
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU is here")
def test_kernels_on_the_card_that_is_here_agree_with_the_reference(tmp_path):
    agree(tmp_path, TRITON_INTERPRET="0")


@pytest.mark.slow
@needs_triton
def test_interpreted_kernels_agree_for_every_activation_loss_and_frozen_set(tmp_path):
    agree(tmp_path, "slow", TRITON_INTERPRET="1")


def agree(folder, marked="not slow", **environment):
    script = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", marked, str(HERE / "triton_agreement.py")]
    done = run(script, folder=folder, **environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout


@needs_triton
def test_the_kernels_compile_for_a_card_that_is_not_here(tmp_path):
    done = run([str(HERE / "triton_compilation.py")], folder=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 4
