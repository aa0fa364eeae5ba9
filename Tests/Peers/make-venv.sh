#!/bin/sh
# Makes a private Python environment with the foreign inference clients and runtimes, from PyPI. Does nothing where it
# is there.
# Usage: Tests/Peers/make-venv.sh DIR; exits 1, with pip's words, where PyPI cannot be reached.
set -eu
folder=$1
packages="tritonclient[grpc]==2.73.0 grpcio==1.81.1 grpcio-reflection==1.81.1 grpcio-health-checking==1.81.1"
packages="$packages onnx==1.23.2 onnxruntime==1.32.0 safetensors==0.8.0"
if [ "$(cat "$folder/packages" 2>/dev/null)" = "$packages" ]; then exit 0; fi
rm -rf "$folder"
/usr/bin/python3 -m venv "$folder"
# shellcheck disable=SC2086
"$folder/bin/pip" install --quiet --disable-pip-version-check --retries 1 --timeout 20 $packages
# Last: an interrupted installation is begun anew.
echo "$packages" > "$folder/packages"
