#!/bin/sh
# Make benchmarks/.environments/jax, in which benchmarks/one_hidden_layer_jax.py trains the same networks.
set -eu
cd "$(dirname "$0")"
python3 -m venv .environments/jax
.environments/jax/bin/pip install --quiet "jax==0.10.2" "jaxlib==0.10.2"
