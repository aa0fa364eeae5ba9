#!/usr/bin/env bash
# The Heston lab beside QuantLib: surfaces with and without gradient, calibration, implied volatility; accuracy against
# the reference values beside the checkout. One thread each, in interleaved rounds. Then recorded option chains, fitted
# by both: QuantLib takes half a minute a snapshot.
# Environment: ROUNDS (5), SNAPSHOTS of each file of chains (2; 0 for all).
set -euo pipefail
cd "$(dirname "$0")/.."
${SWIFT:-swift} build -c release --static-swift-stdlib --product heston-bench 2>&1 | tail -n 1
venv=.build/venv-heston
if [ ! -x $venv/bin/python ]; then
    python3 -m venv $venv
    $venv/bin/pip -q install QuantLib
fi
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
status=0
taskset -c 0 $venv/bin/python benchmarks/heston/compare.py .build/release/heston-bench "${ROUNDS:-5}" || status=1
taskset -c 0 $venv/bin/python benchmarks/heston/real.py .build/release/heston-bench "${SNAPSHOTS:-2}" || status=1
exit $status
