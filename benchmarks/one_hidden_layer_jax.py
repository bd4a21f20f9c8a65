"""The peer of benchmarks/one_hidden_layer.py in JAX: a jitted lax.scan over steps under vmap over networks.

Run by that benchmark in an environment of its own: reads arrays from one file, writes outputs and seconds to another.
"""

from __future__ import annotations

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np


def main() -> None:
    source, target, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
    given = dict(np.load(source))
    alpha, rate, steps = float(given["alpha"]), float(given["rate"]), int(given["steps"])

    def outputs(parameters, x):
        weights, biases, heads = parameters
        return jax.nn.relu(x @ weights.T / np.sqrt(x.shape[1]) + biases) @ heads / len(heads)

    def train(parameters, x, y):
        first, width = outputs(parameters, x), len(parameters[1])

        def loss(moving):
            return jnp.mean(jax.nn.relu(1 - y * alpha * (outputs(moving, x) - first))) / alpha

        def step(moving, _):
            gradient = jax.grad(loss)(moving)
            return tuple(p - rate * width * g for p, g in zip(moving, gradient, strict=True)), None

        after, _ = jax.lax.scan(step, parameters, None, length=steps)
        return alpha * (outputs(after, x) - first)

    run = jax.jit(jax.vmap(train))
    arguments = (tuple(jnp.asarray(given[name]) for name in ("weights", "biases", "outputs")), given["x"], given["y"])
    run(*arguments).block_until_ready()
    walls, processors = [], []
    for _ in range(repeats):
        wall, processor = time.perf_counter(), time.process_time()
        result = run(*arguments).block_until_ready()
        walls.append(time.perf_counter() - wall)
        processors.append(time.process_time() - processor)
    np.savez(target, predictions=np.asarray(result), wall=np.median(walls), processor=np.median(processors))


if __name__ == "__main__":
    main()
