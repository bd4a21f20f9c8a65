#!/bin/sh
# Make benchmarks/.environments/jax: neural-tangents, which runs on the JAX of December 2023 only, in an environment of
# its own. benchmarks/tangent_kernel.py starts it by itself.
set -eu
cd "$(dirname "$0")"
"${PYTHON:-python3.11}" -m venv .environments/jax
.environments/jax/bin/pip install --quiet "neural-tangents==0.6.5" "jax==0.4.23" "jaxlib==0.4.23" "numpy<2" "scipy<1.12" "tf2jax<0.3.7"
