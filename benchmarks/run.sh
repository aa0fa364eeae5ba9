#!/usr/bin/env bash
# Runs the benchmarks of the areas given, or all, and prints a CLAIM line for each figure that the README names. Ends
# with 1 when one falls short of its bound.
#
#   benchmarks/run.sh [rpc] [storage] [heston] [features] [learning] [backtest] [trainers] [stack]
set -euo pipefail
cd "$(dirname "$0")/.."
areas=("$@")
[ ${#areas[@]} -gt 0 ] || areas=(rpc storage heston features learning backtest trainers stack)
status=0
for area in "${areas[@]}"; do
    script="benchmarks/$area.sh"
    if [ ! -x "$script" ]; then
        known=$(cd benchmarks && ls ./*.sh | sed 's|./||;s|\.sh||' | grep -v '^run$' | tr '\n' ' ')
        echo "no benchmark “$area”; there are: $known" >&2
        exit 64
    fi
    "$script" || status=1
done
exit $status
