# `make` alone lists the targets. On a fresh Debian 12 machine every one of them does its own set-up.
#   LIBTORCH=DIR  use that LibTorch instead of the one that set-up fetches
#   JOBS=N        parallel jobs (default: the cores)
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

JOBS ?= $(shell nproc)
BUILD := build/release
SETUP := tools/setup.sh $(if $(LIBTORCH),--libtorch "$(LIBTORCH)")
CONFIGURE = cmake --preset $(1) $(if $(LIBTORCH),-DTRIREME_LIBTORCH="$(abspath $(LIBTORCH))") >build/$(1)-configure.log \
            || { tail -n 30 build/$(1)-configure.log; exit 1; }
# $(call COMPILE,PRESET[,TARGET]): all of a preset, or one target of it.
COMPILE = mkdir -p build && $(call CONFIGURE,$(1)) && cmake --build --preset $(1) -j $(JOBS) $(if $(2),--target $(2))

.PHONY: help setup build program test test-interop lint demo bench fuzz asan tsan install dist clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## install Debian packages, LibTorch and the pretrained model (nothing that is there already)
	@$(SETUP)

build: setup ## build/release: the binary, the library, the tests
	@$(call COMPILE,release)

program: setup ## build/release: the binary and the library alone
	@$(call COMPILE,release,trireme_cli)

test: build ## unit, golden and multi-rank tests
	@tools/run_tests.py python tests/tools
	@tools/run_tests.py ctest $(BUILD)

test-interop: build ## against the live transformers, tokenizers, tensorboard, torchrun (own Python environment)
	@$(SETUP) --interop
	@tools/run_tests.py pytest .deps/interop/bin/python tests/interop

lint: setup ## format, layers, scripts, clang-tidy (LINT_BASE=REF: only what changed since REF)
	@LIBTORCH="$(LIBTORCH)" tools/lint.sh

demo: program ## train on 2 ranks, evaluate, ask the trained model over HTTP (DATA=squad.json: your own data)
	@mkdir -p build/demo
	@$(BUILD)/trireme demo --model .deps/models/minilm-l6 --report build/demo/report.json $(if $(DATA),--data "$(DATA)")

bench: program ## training speed beside Hugging Face's (benchmarks/README.md)
	@$(SETUP) --interop
	@benchmarks/train_vs_hf.py --report build/bench/train_vs_hf.json

FUZZ_SECONDS ?= 60
fuzz: setup ## every fuzz target for FUZZ_SECONDS (default 60)
	@$(call COMPILE,fuzz,fuzzers)
	@tools/run_fuzz.sh build/fuzz $(FUZZ_SECONDS)

asan: setup ## the tests without LibTorch under the address and undefined-behaviour sanitizers
	@$(call COMPILE,asan)
	@tools/run_tests.py ctest build/asan

tsan: setup ## all tests under the thread sanitizer
	@$(call COMPILE,tsan)
	@TSAN_OPTIONS="suppressions=$(CURDIR)/tools/tsan.supp allocator_may_return_null=1 $${TSAN_OPTIONS:-}" tools/run_tests.py ctest build/tsan

PREFIX ?= /usr/local
install: program ## the program, and the library for find_package(trireme), under PREFIX (default /usr/local)
	@cmake --install $(BUILD) --prefix "$(PREFIX)"

dist: program ## build/dist: a tar that runs on any x86-64 Linux with glibc 2.36 or newer
	@tools/dist.sh $(BUILD) build/dist

clean: ## remove build/ (.deps/ stays)
	@rm -rf build
