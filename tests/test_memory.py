"""Freed memory is kept: whoever asks again gets pages that are there already."""

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, statistics, sys, torch
from torch import nn
from learnscope.kernels import tangent_kernel
from learnscope.kernels.tangent import kernel

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    tangent_kernel(model, x)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

torch.set_num_threads(1)
if sys.argv[1] == "given back":
    kernel.keep_freed_memory = lambda: None
layers = [nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten()]
model = nn.Sequential(*layers, nn.Linear(32 * 256, 1))
x = torch.randn(32, 3, 16, 16)
print(statistics.median([faults() for _ in range(15)][5:]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries keep memory by other rules")
def test_a_kernel_that_is_computed_again_takes_no_new_pages():
    given_back, kept = (counted(name) for name in ("given back", "kept"))
    assert kept < 100 < given_back


def counted(name):
    command = [sys.executable, "-c", COUNT, name]
    return float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
