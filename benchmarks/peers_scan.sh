#!/bin/sh
# Make benchmarks/.environments/scan: today's JAX, in which benchmarks/one_hidden_layer_jax.py trains the same networks.
# It lives apart from peers_jax.sh, whose neural-tangents needs the JAX of December 2023.
set -eu
cd "$(dirname "$0")"
python3 -m venv .environments/scan
.environments/scan/bin/pip install --quiet "jax==0.10.2" "jaxlib==0.10.2"
