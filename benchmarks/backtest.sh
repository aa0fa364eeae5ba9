#!/usr/bin/env bash
# A crossing of moving averages over a million bars through the engine, beside vectorbt, backtesting.py and
# nautilus_trader with the same bars and the same signal; a 128-128 policy on 16 × 80 features. One thread each, in
# interleaved rounds. A peer that cannot be had is left out.
# Environment: ROUNDS (5).
set -euo pipefail
cd "$(dirname "$0")/.."
${SWIFT:-swift} build -c release --static-swift-stdlib --product backtest-bench 2>&1 | tail -n 1
# Two environments, because the peers want different versions of pandas.
venv=.build/venv-backtest
nautilus=.build/venv-nautilus
if [ ! -x $venv/bin/python ]; then
    python3 -m venv $venv
    $venv/bin/pip -q install numpy
    $venv/bin/pip -q install vectorbt || echo "skipped: vectorbt cannot be had from here"
    $venv/bin/pip -q install backtesting || echo "skipped: backtesting.py cannot be had from here"
fi
if [ ! -x $nautilus/bin/python ]; then
    python3 -m venv $nautilus
    $nautilus/bin/pip -q install nautilus_trader || echo "skipped: nautilus_trader cannot be had from here"
fi
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
env -u OPENBLAS_CORETYPE taskset -c 0 $venv/bin/python -W ignore benchmarks/backtest/compare.py \
    .build/release/backtest-bench $nautilus/bin/python "${ROUNDS:-5}"
