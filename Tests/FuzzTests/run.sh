#!/bin/bash
# Fuzzes one target, or each: run.sh VOMMA-FUZZ SECONDS [TARGET]
# The corpus grows from run to run under .build-fuzz/corpus; an input that breaks something is left in
# .build-fuzz/found, and `vomma-fuzz TARGET FILE` runs it again.
set -eu
fuzzer=$1
seconds=$2
folder=$(dirname "$(dirname "$fuzzer")")
targets=${3:-$("$fuzzer" --list)}
export SWIFT_BACKTRACE=enable=no ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0
mkdir -p "$folder/found"
failed=""
for target in $targets; do
    corpus=$folder/corpus/$target
    log=$folder/$target.log
    mkdir -p "$corpus"
    if "$fuzzer" "$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=4096 \
        -print_final_stats=1 -artifact_prefix="$folder/found/$target-" "$corpus" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
        echo "ok    $target: ${runs:-0} runs in $seconds s, ${coverage:-no coverage}, $(ls "$corpus" | wc -l) inputs"
    else
        echo "BROKE $target: see $log"
        grep -E '^SUMMARY|Fatal error|Test unit written|: fatal' "$log" | head -n 5 || true
        failed="$failed $target"
    fi
done
[ -z "$failed" ]
