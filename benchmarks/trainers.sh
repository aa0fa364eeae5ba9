#!/usr/bin/env bash
# Independent training jobs on one trainer and on two, processes of their own on the same stack: how long the same batch
# of jobs takes. There is no peer; only the bound is compared. Needs two cores.
# Environment: JOBS (6), STEPS of each training (150000).
set -euo pipefail
cd "$(dirname "$0")/.."
jobs=${JOBS:-6}
steps=${STEPS:-150000}
vomma=$PWD/.build/release/vomma
folder=$(mktemp -d)
# Run by root, PostgreSQL runs as another user, who has to be able to enter.
chmod 711 "$folder"
stack=
trap '[ -z "$stack" ] || { kill -INT "$stack"; wait "$stack" || true; }; rm -rf "$folder"' EXIT
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"

start() { # TRAINERS
    "$vomma" run --data-folder "$folder" --steps 2048 --surfaces 0 --skip-latency --trainers "$1" --keep \
        >"$folder/run.$1" 2>&1 &
    stack=$!
    for _ in $(seq 600); do
        grep -q 'keeps running' "$folder/run.$1" && return
        kill -0 "$stack" 2>/dev/null || break
        sleep 0.5
    done
    cat "$folder/run.$1" >&2
    exit 1
}
stop() {
    kill -INT "$stack"
    wait "$stack" || true
    stack=
}
batch() { # TRAINERS → seconds from the first submission to the last job's end
    local began pids=() seed
    began=$(date +%s.%N)
    for seed in $(seq "$jobs"); do
        cat >"$folder/$1-$seed.json" <<JSON
{"name": "batch-$1", "stream": "heston-123-2048-0s-train", "symbol": "ALTUSDT", "train_from": "2026-01-01",
 "train_to": "2026-01-15", "validate_to": "2026-01-19", "seed": $seed, "total_steps": $steps, "validate_every": 1000}
JSON
        "$vomma" train policy.ppo "batch-$1-$seed" "$folder/$1-$seed.json" --data-folder "$folder" \
            >"$folder/$1-$seed.log" 2>&1 &
        pids+=($!)
    done
    for pid in "${pids[@]}"; do
        wait "$pid" || { cat "$folder/$1"-*.log >&2; exit 1; }
    done
    echo "$(date +%s.%N) - $began" | bc
}

start 1
one=$(batch 1)
stop
start 2
two=$(batch 2)
stop
python3 - "$one" "$two" "$jobs" <<'PY'
import sys
one, two, jobs = float(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
print(f"{jobs} jobs: one trainer {one:.1f} s, two trainers {two:.1f} s")
verdict = "ok" if one / two >= 1.8 else "short"
print(f"CLAIM learning.trainers.two ours={two:.1f}s peer={one:.1f}s ratio={one / two:.2f} bound=1.8 {verdict}")
sys.exit(verdict != "ok")
PY
