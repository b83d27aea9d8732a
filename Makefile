# Targets for people; underneath are CMake presets and Ninja. `make help` lists them.
PREFIX ?= /usr/local
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.PHONY: all setup test test-environments test-gpu test-mpi test-clang test-asan test-ubsan test-tsan test-distributions test-arm64 test-python torture long-run wheel fuzz demo bench bench-gpu install clean format help

all: ## build the program: build/release/mep
	@sh scripts/setup.sh build
	@cmake --preset release > /dev/null
	@cmake --build build/release

setup: ## install the missing Debian packages, those of the tests too
	@sh scripts/setup.sh test

# check PRESET [OPTIONS]: configure, build, run the tests
define check
	@cmake --preset $(1) $(2) > /dev/null
	@cmake --build build/$(1)
	@ctest --test-dir build/$(1) --output-on-failure -j 2
endef

test: setup ## build with warnings as errors, and run all tests
	$(call check,ci)

test-environments: setup ## all tests twice more: with OMP_THREAD_LIMIT=1, and with OMP_DYNAMIC=true next to a load
	@cmake --preset ci > /dev/null
	@cmake --build build/ci
	@sh scripts/test_environments.sh build/ci

test-gpu: setup ## the tests that need a GPU, on one: needs CUDA's toolkit 12.0 or later
	@cmake --preset gpu > /dev/null
	@cmake --build build/gpu
	@ctest --test-dir build/gpu --output-on-failure -R '^gpu_'

# The last word runs more steps and other numbers of processes than `make test`.
test-mpi: setup ## the tests of several processes alone, with longer runs under mpirun
	@cmake --preset ci > /dev/null
	@cmake --build build/ci
	@ctest --test-dir build/ci --output-on-failure -R 'dist|ring|shards|group'
	@sh tests/cli_mpi_bits.sh "$(CURDIR)/build/ci/mep" long

CLANG ?= clang
export CLANG
test-clang: setup ## the same with clang; CLANG=clang-19: with another one
	@sh scripts/setup.sh clang
	$(call check,clang,-DCMAKE_C_COMPILER=$(CLANG))

test-distributions: ## make, make demo and make test in fresh Debian roots; JOBS="trixie:gcc bookworm:clang": some of them
	@scripts/test_distributions.sh $(JOBS)

test-arm64: ## cross-compile for 64-bit Arm in a Debian root, and run the core of the tests under QEMU
	@scripts/test_distributions.sh bookworm:arm64

test-asan: setup ## the tests under AddressSanitizer
	$(call check,asan)

test-ubsan: setup ## the tests under UndefinedBehaviorSanitizer
	$(call check,ubsan)

# clang, because its OpenMP library tells ThreadSanitizer about its barriers.
test-tsan: setup ## the tests under ThreadSanitizer
	@sh scripts/setup.sh clang
	$(call check,tsan)

# PYTHON= reaches the script through the environment.
test-python: all ## the tests of the Python package; PYTHON=FILE: an interpreter that has torch
	@sh tests/python.sh "$(CURDIR)/build/release/libmep.so" "$(CURDIR)/build/release/mep" "$(CURDIR)"

KILLS ?= 200
SEED ?= 1
torture: setup ## kill and resume a training run KILLS=200 times, from SEED=1, and compare every byte
	@cmake --preset ci > /dev/null
	@cmake --build build/ci --target torture mep_cli
	@build/ci/tests/torture build/ci/mep $(KILLS) $(SEED)

STEPS_LONG ?= 20000
long-run: setup ## train a tiny model for STEPS_LONG=20000 steps: its memory must not grow
	@cmake --preset ci > /dev/null
	@cmake --build build/ci --target test_long_run
	@MEP_LONG_STEPS=$(STEPS_LONG) build/ci/tests/test_long_run

wheel: ## build the Python package: build/wheel/libmep-*.whl
	@sh scripts/setup.sh build
	@$(or $(PYTHON),python3) -m pip wheel --no-deps -q -w build/wheel .
	@ls build/wheel/*.whl

FUZZ_SECONDS ?= 60
# What a fuzzer finds stays in build/fuzz/corpus; fuzz/corpus has what the tests replay.
fuzz: ## run every fuzzer, or those of FUZZ="bias cut", for FUZZ_SECONDS=60 each
	@sh scripts/setup.sh clang
	@cmake --preset fuzz > /dev/null
	@cmake --build build/fuzz --target fuzzers
	@for name in $(or $(FUZZ),$(patsubst fuzz/fuzz_%.c,%,$(sort $(wildcard fuzz/fuzz_*.c)))); do \
		echo "== $$name"; \
		mkdir -p build/fuzz/corpus/$$name; \
		(cd build/fuzz && fuzz/fuzz_$$name corpus/$$name ../../fuzz/corpus/$$name -timeout=20 \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1) || exit 1; \
	done

# CORPUS= and STEPS= reach the script through the environment.
demo: all ## train four encodings on real text, compare them on longer text; STEPS=60 is quicker, CORPUS=FILE takes another text
	@sh scripts/setup.sh demo
	@sh scripts/demo.sh build/release/mep

bench: all ## measure attention, decoding, products, training: the tables of docs/performance.md (some 20 minutes)
	@for what in attention decode gemm train 'train --preset small' 'train --preset gpt2' 'train --preset small --eval'; do \
		printf '\n### mep bench %s\n\n' "$$what"; \
		build/release/mep bench $$what --format markdown || exit 1; \
	done

bench-gpu: ## the same on an NVIDIA GPU, of a build with CUDA in build/cuda: attention at 16K tokens, products, training
	@cmake --preset release -B build/cuda -DMEP_CUDA=ON > /dev/null
	@cmake --build build/cuda
	@for what in 'attention --heads 12 --head-dim 64' 'attention --heads 16 --head-dim 128' 'gemm --batch-size 32' \
	    'train --preset small --batch-size 32' 'train --preset small --eval'; do \
		case $$what in attention*) what="$$what --tokens 16K --lengths 2K,4K,8K,16K --positions none,mep,mep_param" ;; esac; \
		printf '\n### mep bench %s\n\n' "$$what"; \
		build/cuda/mep bench $$what --device cuda --format markdown || exit 1; \
	done

install: all ## install into PREFIX=/usr/local
	@cmake --install build/release --prefix "$(PREFIX)"

clean: ## remove what was built
	@rm -rf build

format: ## lay the C files out by .clang-format
	@clang-format -i $$(find src include tests fuzz examples -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
