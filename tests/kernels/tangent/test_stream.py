import numpy as np
import pytest
import torch
import zarr
from torch import nn

from learnscope.errors import InputError, StoreError
from learnscope.kernels.tangent import tangent_kernel
from learnscope.kernels.tangent.stream import stream_tangent_kernel


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double()


@pytest.fixture
def x(generator):
    return torch.randn(11, 1, 4, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("outputs", ["trace", "all"])
@pytest.mark.parametrize("rectangular", [False, True])
def test_tiles_make_the_kernel(model, x, tmp_path, outputs, rectangular):
    others = x[:5] if rectangular else None
    array = stream_tangent_kernel(tmp_path / "kernel", model, x, others, outputs=outputs, tile=4)
    truth = tangent_kernel(model, x, others, outputs=outputs)
    np.testing.assert_allclose(np.asarray(array[:]), truth.numpy(), rtol=1e-12)


def test_an_interrupted_kernel_goes_on_with_the_missing_tiles(model, x, tmp_path):
    seen = []

    def stop_after_three(done, total):
        seen.append((done, total))
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stream_tangent_kernel(tmp_path / "kernel", model, x, tile=4, watch=stop_after_three)
    assert seen == [(0, 6), (1, 6), (2, 6), (3, 6)]
    seen.clear()
    array = stream_tangent_kernel(tmp_path / "kernel", model, x, tile=4, watch=lambda *state: seen.append(state))
    assert seen == [(3, 6), (4, 6), (5, 6), (6, 6)]
    np.testing.assert_allclose(np.asarray(array[:]), tangent_kernel(model, x, outputs="trace").numpy(), rtol=1e-12)


def test_the_kernel_of_something_else_is_not_continued(model, x, tmp_path):
    stream_tangent_kernel(tmp_path / "kernel", model, x, tile=8)
    for other in ({"x1": x + 1}, {"tile": 4}, {"outputs": "sum"}):
        with pytest.raises(StoreError, match="holds the kernel of another model"):
            stream_tangent_kernel(tmp_path / "kernel", model, **({"x1": x, "tile": 8} | other))
    with torch.no_grad():
        model[0].bias += 1
    with pytest.raises(StoreError, match="holds the kernel of another model"):
        stream_tangent_kernel(tmp_path / "kernel", model, x, tile=8)


def test_workers_of_a_cluster_compute_the_same(model, x, tmp_path):
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster,
        Client(cluster) as client,
    ):
        array = stream_tangent_kernel(tmp_path / "kernel", model, x, tile=4, client=client)
    np.testing.assert_allclose(np.asarray(array[:]), tangent_kernel(model, x, outputs="trace").numpy(), rtol=1e-12)


def test_a_tile_has_rows(model, x, tmp_path):
    with pytest.raises(InputError, match="tile=0"):
        stream_tangent_kernel(tmp_path / "kernel", model, x, tile=0)


def test_tiles_take_64_mib_unless_said_otherwise(model, x, tmp_path):
    array = stream_tangent_kernel(tmp_path / "kernel", model, x[:2])
    assert dict(zarr.open_group(str(tmp_path / "kernel")).attrs)["tile"] == 2048  # float64
    assert array.chunks == (2, 2)
