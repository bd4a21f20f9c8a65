#!/bin/sh
# Make benchmarks/.environments/peers: Learnscope side by side with the libraries it is measured against.
# They live apart because DADApy needs NumPy 1. Run the benchmarks with
#   benchmarks/.environments/peers/bin/python benchmarks/two_nn.py
set -eu
cd "$(dirname "$0")"
python3 -m venv .environments/peers
.environments/peers/bin/pip install --quiet "torch==2.13.0"
.environments/peers/bin/pip install --quiet "torch==2.13.0" "dadapy==0.3.4" "scikit-dimension==0.5.0" "pytorch-cka==1.1.3" "torchvision==0.28.0" "nngeometry==0.4" -e ..
