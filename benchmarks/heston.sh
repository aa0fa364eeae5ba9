#!/usr/bin/env bash
# The Heston lab beside QuantLib: surfaces with and without gradient, calibration, implied volatility; accuracy against
# the reference values beside the checkout; recorded option chains, fitted by both (QuantLib takes ten seconds a
# snapshot). Then the inverse network, trained (some minutes), judged, and timed beside PyTorch and ONNX Runtime. One
# thread each, in interleaved rounds.
# Environment: ROUNDS (5); SNAPSHOTS of each file of chains (2; 0 for all); NETWORKS, a folder with networks of an
# earlier run, which are then not trained again.
set -euo pipefail
cd "$(dirname "$0")/.."
${SWIFT:-swift} build -c release --static-swift-stdlib --product heston-bench 2>&1 | tail -n 1
venv=.build/venv-heston
if [ ! -x $venv/bin/python ]; then
    python3 -m venv $venv
    # The last six are what PyTorch needs; its own index, unlike PyPI, has it without the code for graphics cards.
    $venv/bin/pip -q install QuantLib numpy onnx onnxruntime safetensors \
        filelock fsspec jinja2 networkx sympy typing-extensions
    $venv/bin/pip -q install --no-deps torch --index-url https://download.pytorch.org/whl/cpu
fi
program=.build/release/heston-bench
networks=${NETWORKS:-$(mktemp -d)}
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
status=0
taskset -c 0 $venv/bin/python benchmarks/heston/compare.py $program "${ROUNDS:-5}" || status=1
$venv/bin/python benchmarks/heston/real.py $program "${SNAPSHOTS:-2}" || status=1
if $venv/bin/python -c "import onnxruntime, torch" 2> /dev/null; then
    $venv/bin/python -W ignore benchmarks/heston/network.py $program "$networks" "${ROUNDS:-5}" || status=1
else
    echo "skipped: the inverse network, for PyTorch or ONNX Runtime cannot be had from here"
fi
[ -n "${NETWORKS:-}" ] || rm -rf "$networks"
exit $status
