#!/usr/bin/env bash
# PPO where the best policy is known and where there is nothing to know; PPO on the pendulum beside stable-baselines3
# and a minimal PyTorch loop; a policy's decisions beside ONNX Runtime. One thread each, in interleaved rounds.
# Environment: ROUNDS (3; at most 5).
set -euo pipefail
cd "$(dirname "$0")/.."
${SWIFT:-swift} build -c release --static-swift-stdlib --product learning-bench 2>&1 | tail -n 1
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
status=0
env -u OPENBLAS_CORETYPE taskset -c 0 python3 benchmarks/learning/controls.py .build/release/learning-bench || status=1
venv=.build/venv-learning
if [ ! -x $venv/bin/python ]; then
    python3 -m venv $venv
    # PyTorch's own index, unlike PyPI, has it without the code for graphics cards; the others are what it and
    # stable-baselines3 need.
    $venv/bin/pip -q install numpy onnx onnxruntime safetensors gymnasium cloudpickle pandas matplotlib \
        filelock fsspec jinja2 networkx sympy typing-extensions setuptools
    $venv/bin/pip -q install --no-deps torch --index-url https://download.pytorch.org/whl/cpu
    $venv/bin/pip -q install --no-deps stable-baselines3
fi
if ! $venv/bin/python -c "import onnxruntime, stable_baselines3, torch" 2> /dev/null; then
    echo "skipped: PyTorch, stable-baselines3 or ONNX Runtime cannot be had from here"
    exit $status
fi
env -u OPENBLAS_CORETYPE taskset -c 0 $venv/bin/python -W ignore benchmarks/learning/compare.py \
    .build/release/learning-bench "${ROUNDS:-3}" || status=1
exit $status
