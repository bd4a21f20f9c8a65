"""Compute a tangent kernel with neural-tangents when told to; tangent_kernel.py starts it in its environment.

python neural_tangents_peer.py FOLDER THREADS

FOLDER holds ``case.npz``: inputs, and the weights and biases of a ReLU network in order. It prints "ready" once the
structured implementation is compiled; "run" on its input makes it compute and print wall and processor seconds,
"save" write ``kernel.npy``.
"""

import os
import sys
import time
from pathlib import Path

FOLDER, THREADS = Path(sys.argv[1]), int(sys.argv[2])
if THREADS == 1:
    os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import neural_tangents as nt  # noqa: E402
import numpy as np  # noqa: E402


def apply(parameters, x):
    """Return the outputs of a network of convolutions and linear layers with ReLU between them.

    Weights of linear layers are [inputs, outputs], for with a transposition here it finds less structure, and takes
    hundreds of times longer.
    """
    for place, (weight, bias) in enumerate(parameters):
        if place:
            x = jnp.maximum(x, 0)
        if weight.ndim == 4:
            x = jax.lax.conv_general_dilated(x, weight, (1, 1), "SAME", dimension_numbers=("NCHW", "OIHW", "NCHW"))
            x = x + bias[:, None, None]
        else:
            x = x.reshape(len(x), -1) @ weight + bias
    return x


def main():
    """Compile, and do as told."""
    with np.load(FOLDER / "case.npz") as case:
        arrays = [
            jnp.asarray(array.T if array.ndim == 2 and place else array) for place, array in enumerate(case.values())
        ]
    inputs, parameters = arrays[0], list(zip(arrays[1::2], arrays[2::2], strict=True))
    structured = nt.NtkImplementation.STRUCTURED_DERIVATIVES
    kernel_fn = nt.empirical_ntk_fn(apply, trace_axes=(), vmap_axes=0, implementation=structured)
    compiled = jax.jit(lambda x, p: kernel_fn(x, None, p))
    kernel = compiled(inputs, parameters).block_until_ready()
    print("ready", flush=True)
    for order in sys.stdin:
        if order.strip() == "run":
            del kernel
            wall, processor = time.perf_counter(), time.process_time()
            kernel = compiled(inputs, parameters).block_until_ready()
            print(time.perf_counter() - wall, time.process_time() - processor, flush=True)
        elif order.strip() == "save":
            np.save(FOLDER / "kernel.npy", np.asarray(kernel))
            print("saved", flush=True)
        else:
            return


if __name__ == "__main__":
    main()
