#!/usr/bin/env bash
# Storage beside its peers: binary COPY against psql's \copy, a pipeline against single statements, point reads through
# the pool against psycopg 3 (PyPI's binary build, with its C core) and its pool. One private PostgreSQL with fsync on.
set -euo pipefail
cd "$(dirname "$0")/.."
swift build -c release --static-swift-stdlib --product storage-bench 2>&1 | tail -1
folder=$(mktemp -d)
# Run by root, PostgreSQL runs as another user, who has to be able to enter.
chmod 711 "$folder"
trap 'rm -rf "$folder"' EXIT
venv=.build/venv-psycopg
if [ ! -x $venv/bin/python ]; then
    python3 -m venv $venv && $venv/bin/pip -q install 'psycopg[binary]==3.2.*' 'psycopg-pool==3.2.*' || rm -rf $venv
fi
peer=()
if [ -x $venv/bin/python ]; then
    peer=($venv/bin/python benchmarks/storage/point_reads.py)
    version=$($venv/bin/python -c 'import psycopg; print(psycopg.__version__, psycopg.pq.__impl__)')
fi
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
echo "versions: $(psql --version), psycopg ${version:-not to be had: no claim about reads}"
"$(swift build -c release --show-bin-path)/storage-bench" "$folder" ${peer[@]+"${peer[@]}"}
