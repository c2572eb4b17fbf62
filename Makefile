# SPDX-License-Identifier: Apache-2.0
# The front door. CMake does the work (CMakePresets.json); `make help` lists what there is.
.DEFAULT_GOAL := build
.PHONY: build help deps model run serve test test-deps test-long test-arm64 test-mlx check-macos bench bench-server bench-video lint format \
    fuzz install clean

BUILD  := build
PREFIX ?= /usr/local
JOBS   ?= $(shell nproc 2> /dev/null || sysctl -n hw.ncpu)
# With nobody there to ask (a pipe, CI), `make` is the consent.
YES    := $(shell [ -t 0 ] || echo --yes)

build: deps ## build build/tkr-embed and libtkr (the default)
	@[ -f $(BUILD)/build.ninja ] || cmake --preset release
	@cmake --build $(BUILD) -j $(JOBS) --target tkr-embed tkr_shared tkr_static tkr_pages

help: ## list these targets
	@sed -n 's/^\([a-z0-9-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | column -t -s '|'

deps:
	@scripts/deps $(YES)

model: deps
	@scripts/get-model

run: build model ## build, fetch all-MiniLM-L6-v2 (80 MB, once) and compare real sentences
	@scripts/run

serve: build model ## serve all-MiniLM-L6-v2 on http://127.0.0.1:8000: a page, REST, WebSocket (MODEL=... for another)
	@build/tkr-embed serve -m $(or $(MODEL),minilm)

test-deps: deps
	@scripts/deps --test $(YES)

test: test-deps build model ## run every test that takes minutes, not hours
	@cmake --build $(BUILD) -j $(JOBS)
	@ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure --no-tests=error

test-long: test-deps build model ## run what takes longer: soaks, the full sweeps, long fuzzing
	@cmake --build $(BUILD) -j $(JOBS)
	@ctest --test-dir $(BUILD) -C Long -L long --output-on-failure --no-tests=error
	@scripts/fuzz 600

test-arm64: ## cross-compile for arm64 and run its unit tests under qemu-user
	@scripts/deps --dev $(YES)
	@scripts/arm64-sysroot
	@[ -f $(BUILD)/aarch64/build.ninja ] || cmake --preset aarch64
	@cmake --build --preset aarch64 -j $(JOBS)
	@ctest --preset aarch64 -L unit -j $(JOBS)

check-macos: deps ## compile and link everything for macOS on arm64 (ziglang and mlx-metal from PyPI), without a Mac
	@scripts/check-macos

test-mlx: deps model ## install MLX's CPU build in build/mlx-venv and test the MLX module (docs/gpu.md)
	@scripts/mlx-env
	@[ -f $(BUILD)/mlx/build.ninja ] || cmake --preset mlx
	@cmake --build --preset mlx -j $(JOBS)
	@ctest --preset mlx -j $(JOBS)

bench: build model ## measure against the fastest peers (PyPI, set up in build/bench-venv) on this machine
	@scripts/bench

bench-server: build model ## measure the server under load beside a peer (PyPI, set up in build/server-venv)
	@scripts/bench-server

bench-video: build ## measure sampling a 10-minute clip beside the ffmpeg program
	@scripts/bench-video

lint: ## format, clang-tidy, include rules, sizes (developers' tools are installed when missing)
	@scripts/deps --dev $(YES)
	@[ -f $(BUILD)/build.ninja ] || cmake --preset release
	@scripts/lint

format: ## rewrite C and C++ files as .clang-format says
	@git ls-files --cached --others --exclude-standard -- '*.c' '*.h' '*.cpp' '*.hpp' | grep -v '_tables\.[ch]$$' | xargs clang-format -i

fuzz: ## run each fuzz target for 60 seconds (SECONDS_EACH=...)
	@scripts/deps --dev $(YES)
	@scripts/fuzz $(or $(SECONDS_EACH),60)

install: build ## install program, library, header, man page and completions under PREFIX (/usr/local)
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## remove build/
	@rm -rf $(BUILD)
