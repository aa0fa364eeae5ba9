# Vomma. `make run` does the main job, `make test` passes the tests; both start from a machine that has only the Swift
# toolchain and Debian's package mirror.

SHELL := /bin/bash
SWIFT ?= swift
JOBS ?= $(shell nproc)
SERVICES := market-gateway feature-service heston-inverter-service regime-sentiment-service policy-service \
            execution-service trainer
PACKAGES := libnghttp2-dev libprotobuf-c-dev libopenblas-dev libpq-dev zlib1g-dev openssl \
            postgresql postgresql-client protobuf-compiler libprotobuf-dev protobuf-c-compiler python3-grpcio python3-protobuf python3-venv \
            gcc valgrind

# Tests that compute run by themselves: Swift's pool has a thread a core, and what waits for a peer must not wait for
# them.
COMPUTING := Evaluation|Features|Fuzz|Heston|HestonInverse|Indicators|Kernels|Learning|NeuralNetworks|Policies|Regimes
COMPUTING := $(COMPUTING)|Simulation|Tidy|Trading|Trainer

RELEASE := $(SWIFT) build -c release --static-swift-stdlib -j $(JOBS)

.PHONY: help deps build test compose-test instructions run bench proto attack soak fuzz clean

help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make deps             install what is missing (Debian packages)
deps:
	@missing=""; for p in $(PACKAGES); do \
	    dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'install ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
	    echo "installing:$$missing"; \
	    sudo=""; [ $$(id -u) = 0 ] || sudo=sudo; \
	    $$sudo apt-get update -qq && \
	    DEBIAN_FRONTEND=noninteractive $$sudo apt-get install -y -qq --no-install-recommends $$missing; \
	fi

## make build            build everything that runs, in release mode; the programs need no Swift installed
build: deps
	@for p in vomma $(SERVICES); do $(RELEASE) --product $$p || exit 1; done

## make run [DATA=dir]   build, then the main job: history, training, paper trading, report
run: build
	.build/release/vomma run $(if $(DATA),--data $(DATA)) $(ARGS)

## make test             all tests: modules, foreign clients, the whole stack crashed and restarted, the containers
test: deps
	$(SWIFT) build -j $(JOBS) --build-tests
ifdef ARGS
	$(SWIFT) test --skip-build $(ARGS)
else
	$(SWIFT) test --skip-build --filter '^($(COMPUTING))Tests\.'
	$(SWIFT) test --skip-build --skip '^(Integration|Peer|$(COMPUTING))Tests\.'
	$(SWIFT) test --skip-build --no-parallel --filter '^PeerTests\.'
	$(SWIFT) test --skip-build --filter '^IntegrationTests\.'
	$(MAKE) compose-test instructions
endif

## make compose-test     the containers for real: built, started, crashed, compared; skipped where no engine can run
compose-test: build
	docker/compose-test.sh .build/release

## make instructions     what a call costs the server, counted by callgrind; fails when it has grown
instructions: deps
	SWIFT='$(SWIFT)' benchmarks/rpc/instructions.sh --gate

## make bench            every benchmark (see benchmarks/README.md)
bench: build
	env -u OPENBLAS_CORETYPE benchmarks/run.sh $(ARGS)

## make bench-<area>      the benchmarks of one area: rpc, storage, heston, features, learning, backtest, trainers, stack
bench-%: build
	env -u OPENBLAS_CORETYPE benchmarks/run.sh $*

## make attack           attacks on a server of its own, on loopback: what others notice of it, and the memory it takes
attack: deps
	$(RELEASE) --product rpc-testbed
	.build/release/rpc-testbed attack $(ARGS)

## make soak             1,000 connections with 10 calls a second each, for a minute after one to warm up
soak: deps
	$(RELEASE) --product rpc-testbed
	.build/release/rpc-testbed soak $(ARGS)

## make fuzz [TARGET=a] [SECONDS=n]   coverage-guided fuzzing of one target, or of each, 60 s if not said otherwise
fuzz: SECONDS := 60
fuzz: deps
	VOMMA_FUZZ=1 $(SWIFT) build -c release -j $(JOBS) --product vomma-fuzz --scratch-path .build-fuzz --sanitize=address \
	    -Xswiftc -enable-testing -Xswiftc -sanitize=fuzzer -Xswiftc -use-ld=lld
	Tests/FuzzTests/run.sh .build-fuzz/release/vomma-fuzz $(SECONDS) $(TARGET)

## make proto            regenerate the Swift and C code of proto/
proto: deps
	$(SWIFT) build -j $(JOBS) --product protoc-gen-vomma
	proto/generate.sh

## make clean            remove build products (data folders stay)
clean:
	$(SWIFT) package clean
