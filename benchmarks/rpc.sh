#!/usr/bin/env bash
# The gRPC server beside Debian's gRPC C++ (callback API) and grpc-swift-2: the server's own CPU time a call, latency,
# large messages, a stream with back-pressure, memory; and its instructions a call. Ours is what users write: an async
# handler on generated types; each call brings metadata, a trace and a deadline.
# The peers are built once, under .build-peers and .build-grpc-swift (grpc-swift-2: some 7 minutes).
# Environment: ROUNDS (5), STALL_SECONDS (60), RPC_BENCH_PEERS ("cpp swift").
set -euo pipefail
cd "$(dirname "$0")/.."
swift=${SWIFT:-swift}
peers=${RPC_BENCH_PEERS-cpp swift}
folder=.build-peers
mkdir -p "$folder/cpp"

missing=""
for package in gcc g++ libgrpc++-dev libprotobuf-dev protobuf-compiler-grpc valgrind python3; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing="$missing $package"
done
if [ -n "$missing" ]; then
    echo "installing:$missing"
    sudo=""
    [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get update -qq
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing
fi

$swift build -c release --static-swift-stdlib --product rpc-bench-server 2>&1 | tail -n 1
gcc -O2 -o "$folder/load" benchmarks/rpc/load.c
servers=("ours=.build/release/rpc-bench-server")
case " $peers " in *" cpp "*)
    if [ "$folder/cpp/server" -ot benchmarks/rpc/grpc-cpp/server.cc ]; then
        (cd proto && protoc -I . --cpp_out="../$folder/cpp" --grpc_out="../$folder/cpp" \
            --plugin=protoc-gen-grpc="$(command -v grpc_cpp_plugin)" vomma/testing/v1/load.proto)
        g++ -O2 -std=c++17 -I"$folder/cpp" -o "$folder/cpp/server" benchmarks/rpc/grpc-cpp/server.cc \
            "$folder"/cpp/vomma/testing/v1/*.cc -lgrpc++ -lgrpc -lgpr -lprotobuf -labsl_synchronization
    fi
    servers+=("cpp=$folder/cpp/server")
    ;;
esac
case " $peers " in *" swift "*)
    $swift build -c release --package-path benchmarks/rpc/grpc-swift --scratch-path .build-grpc-swift \
        --product server 2>&1 | tail -n 1
    servers+=("swift=.build-grpc-swift/release/server")
    ;;
esac

echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | xargs); $(uname -sr)"
echo "peers: gRPC C++ $(dpkg-query -W -f='${Version}' libgrpc++-dev 2>/dev/null || echo none), grpc-swift-2 2.4.3"
status=0
python3 benchmarks/rpc/compare.py "$folder/load" "${ROUNDS:-5}" "${STALL_SECONDS:-60}" "${servers[@]}" || status=1
RPC_BENCH_BUILT=1 benchmarks/rpc/instructions.sh || status=1
exit $status
