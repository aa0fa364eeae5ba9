#!/usr/bin/env bash
# User-space instructions per unary call at 8 connections × 64 streams, counted by callgrind: a figure that does not
# depend on how busy the machine is. What the server does once (start, handshakes, first calls) cancels out: it is the
# difference of a long and a short run. Prints a CLAIM line; ends with 1 when the figure is beyond its bound.
#
#   benchmarks/rpc/instructions.sh [--profile | --gate]
#
#   --profile    also prints the functions that cost most
#   --gate       for `make test`: ends with 1 when a call has come to cost more than it did, whatever the bound
set -euo pipefail
cd "$(dirname "$0")/../.."
bound=30000
# What --gate lets pass: 27,240 when this was last changed, and 4 % for other versions of the libraries.
ceiling=28300
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
[ -n "${RPC_BENCH_BUILT:-}" ] || ${SWIFT:-swift} build -c release --static-swift-stdlib --product rpc-bench-server >&2
gcc -O2 -o "$folder/load" benchmarks/rpc/load.c
# valgrind 3.19 cannot read Swift's DWARF 5.
strip -g -o "$folder/server" .build/release/rpc-bench-server

# Instructions of the server's whole life in which it answers so many calls.
count() {
    valgrind --tool=callgrind --callgrind-out-file="$folder/callgrind.$1" "$folder/server" \
        >"$folder/output" 2>"$folder/log" &
    server=$!
    for _ in $(seq 600); do
        grep -q '^listening' "$folder/output" && break
        sleep 0.1
    done
    local port
    port=$(sed -n 's/^listening port=//p' "$folder/output")
    if [ -z "$port" ]; then
        echo "The server does not listen:" >&2
        cat "$folder/output" "$folder/log" >&2
        exit 1
    fi
    "$folder/load" echo "$port" "$server" 8 64 "$1" 100 >&2
    kill "$server"
    wait "$server" 2>/dev/null || true
    server=
    sed -n 's/.*Collected : //p' "$folder/log"
}

# `load` makes a tenth, and one a connection, more to warm up.
short=$(count 2000)
long=$(count 12000)
perCall=$(((long - short) / 11000))
if [ "${1:-}" = --profile ]; then
    callgrind_annotate --threshold=90 "$folder/callgrind.12000" >"$folder/profile"
    sed -n '/^Ir/,$p' "$folder/profile" | cut -c1-160 | sed 70q
fi
verdict=ok
[ "$perCall" -gt 0 ] && [ "$perCall" -le "$bound" ] || verdict=short
echo "CLAIM rpc.unary.8x64.instructions ours=$perCall bound=$bound $verdict"
if [ "${1:-}" = --gate ]; then
    if [ "$perCall" -gt 0 ] && [ "$perCall" -le "$ceiling" ]; then exit 0; fi
    echo "A call costs $perCall instructions, more than $ceiling: see --profile for where." >&2
    exit 1
fi
[ "$verdict" = ok ]
