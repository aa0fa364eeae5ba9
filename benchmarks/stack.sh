#!/usr/bin/env bash
# The running stack, replayed one bar at a time: from a bar's publication to its paper order stored, hop by hop, and
# the services' resident memory while the training stream goes through. All seven services run as processes of their
# own over PostgreSQL with fsync on; there is no peer that does this job, so only the bounds are compared.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(mktemp -d)
# Run by root, PostgreSQL runs as another user, who has to be able to enter.
chmod 711 "$folder"
trap 'rm -rf "$folder"' EXIT
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
.build/release/vomma run --data-folder "$folder" --steps 2048 >"$folder/report.txt"
sed -n '/^Latency/,/^Where to look/p' "$folder/report.txt" | sed '/^Where to look/d'
awk '
    /4 bar published to order stored/ { p50 = $(NF - 1); p99 = $NF }
    /^Resident memory/ { inMemory = 1; bars = $4; next }
    /^Where to look/ { inMemory = 0 }
    inMemory && $1 ~ /-service$|^market-gateway$|^trainer$/ { if ($NF + 0 > growth) growth = $NF + 0 }
    function claim(name, value, unit, bound,   verdict) {
        verdict = (value != "" && value + 0 <= bound) ? "ok" : "short"
        if (verdict == "short") failed = 1
        printf "CLAIM %s ours=%s%s bound=%s%s %s\n", name, value, unit, bound, unit, verdict
    }
    END {
        claim("stack.bar_to_order.p50", p50, "ms", 10)
        claim("stack.bar_to_order.p99", p99, "ms", 50)
        claim("stack.memory_growth", growth + 0, "MB", 10)
        exit failed
    }' "$folder/report.txt"
