"""Which engine trains what, on devices that may not be here."""

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from learnscope.dynamics.shallow import descend, engines, flow
from learnscope.dynamics.shallow.engines import engine_for
from learnscope.errors import InputError

from .conftest import network, stripe

X, Y = stripe(5, 2, 0)


@pytest.fixture(autouse=True)
def _afresh(monkeypatch):
    engines._say_once.cache_clear()
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)


def somewhere(device, dim=3):
    """As much of a problem as the choice looks at."""
    return SimpleNamespace(network=SimpleNamespace(weights=SimpleNamespace(device=torch.device(device)), dim=dim))


def installed(monkeypatch, *names):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name if name in names else None)


def test_the_kernels_of_the_device_are_chosen(monkeypatch):
    installed(monkeypatch, "numba", "triton")
    assert engine_for(somewhere("cpu"), "auto") == engine_for(somewhere("cpu"), "fused") == "fused"
    assert engine_for(somewhere("cuda:1"), "auto") == engine_for(somewhere("cuda"), "triton") == "triton"
    assert engine_for(somewhere("cuda"), "reference") == engine_for(somewhere("meta"), "reference") == "reference"


@pytest.mark.parametrize(
    ("device", "dim", "names", "says"),
    [
        ("cuda", 3, ("numba",), "Triton is not installed"),
        ("cuda", 128, ("numba", "triton"), "128 inputs"),
        ("cpu", 3, ("triton",), "Numba is not installed"),
        ("meta", 3, ("numba", "triton"), "on meta"),
    ],
)
def test_without_kernels_the_reference_trains_and_says_so_once(device, dim, names, says, monkeypatch):
    installed(monkeypatch, *names)
    with pytest.warns(UserWarning, match=says) as said:
        assert [engine_for(somewhere(device, dim), "auto") for _ in range(2)] == ["reference"] * 2
    assert len(said) == 1


@pytest.mark.parametrize(
    ("name", "device", "names", "says"),
    [
        ("triton", "cpu", ("triton",), "on cpu, and the kernels run on a GPU"),
        ("triton", "cuda", (), "Triton is not installed"),
        ("fused", "cuda", ("numba",), "the kernels run on the CPU"),
    ],
)
def test_kernels_that_were_asked_for_and_cannot_run_get_one_sentence(name, device, names, says, monkeypatch):
    installed(monkeypatch, *names)
    with pytest.raises(InputError, match=says):
        engine_for(somewhere(device), name)


def test_a_gpu_that_is_asked_for_where_there_is_none_gets_one_sentence():
    usual = {"alpha": 1.0, "engine": "triton"}
    with pytest.raises(InputError, match=r"on cpu, and the kernels run on a GPU; choose engine='auto'\.$"):
        flow([network(4, 2)], X, Y, **usual)
    with pytest.raises(InputError, match="run on a GPU"):
        descend([network(4, 2)], X, Y, learning_rate=0.1, n_steps=1, **usual)


def test_the_interpreter_runs_the_kernels_on_the_cpu(monkeypatch):
    installed(monkeypatch, "triton")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert engine_for(somewhere("cpu"), "triton") == "triton"
