#!/usr/bin/env bash
# The features beside TA-Lib: eleven indicators, one bar at a time; the named columns in batches and one bar at a time;
# memory while a million bars stream through. One thread each, in interleaved rounds. Then a year of one-minute bars
# through market-gateway and feature-service into PostgreSQL, undisturbed and killed three times.
# Environment: ROUNDS (5).
set -euo pipefail
cd "$(dirname "$0")/.."
${SWIFT:-swift} build -c release --static-swift-stdlib --product feature-bench 2>&1 | tail -n 1
venv=.build/venv-features
if [ ! -x $venv/bin/python ]; then
    python3 -m venv $venv
    $venv/bin/pip -q install numpy TA-Lib
fi
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
status=0
taskset -c 0 $venv/bin/python benchmarks/features/compare.py .build/release/feature-bench "${ROUNDS:-5}" || status=1
if [ -d ../shared/data/binance_spot ]; then
    ${SWIFT:-swift} build -c release --static-swift-stdlib --product feature-store-bench 2>&1 | tail -n 1
    python3 benchmarks/features/store.py .build/release/feature-store-bench .build/release ../shared/data || status=1
else
    echo "skipped: a year of bars through the services, for the recorded ones are not beside the checkout"
fi
exit $status
