# Shortcuts for CMake presets and Ninja. `make help` lists the targets.
PREFIX ?= /usr/local
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := all
.PHONY: all setup test test-environments test-gpu test-mpi test-clang test-asan test-ubsan test-tsan test-distributions test-arm64 test-python test-lm-eval torture long-run wheel test-wheel fuzz demo study study-corpora bench bench-gpu install clean format help

all: ## build the program build/release/mep and the libraries
	@sh scripts/setup.sh build
	@cmake --preset release > /dev/null
	@cmake --build build/release

setup: ## install missing Debian packages, including those of the tests
	@sh scripts/setup.sh test

# check PRESET [OPTIONS]: configure, build, run the tests
define check
	@cmake --preset $(1) $(2) > /dev/null
	@cmake --build build/$(1)
	@ctest --test-dir build/$(1) --output-on-failure -j 2
endef

test: setup ## build with warnings as errors and run all tests
	$(call check,ci)

test-environments: setup ## run all tests with OMP_THREAD_LIMIT=1, then with OMP_DYNAMIC=true on a busy machine
	@cmake --preset ci > /dev/null
	@cmake --build build/ci
	@sh scripts/test_environments.sh build/ci

test-gpu: setup ## run the GPU tests; needs an NVIDIA GPU and the CUDA toolkit 12.0 or later
	@cmake --preset gpu > /dev/null
	@cmake --build build/gpu
	@ctest --test-dir build/gpu --output-on-failure -R '^gpu_'

# "long" runs more steps and other numbers of processes than `make test`.
test-mpi: setup ## run the tests of several processes, with longer runs under mpirun
	@cmake --preset ci > /dev/null
	@cmake --build build/ci
	@ctest --test-dir build/ci --output-on-failure -R 'dist|ring|shards|group'
	@sh tests/cli_mpi_bits.sh "$(CURDIR)/build/ci/mep" long

CLANG ?= clang
export CLANG
test-clang: setup ## run all tests in a build by clang, or by CLANG=clang-19
	@sh scripts/setup.sh clang
	$(call check,clang,-DCMAKE_C_COMPILER=$(CLANG))

test-distributions: ## run make, make demo and make test in new Debian roots; JOBS="trixie:gcc bookworm:clang" selects some
	@scripts/test_distributions.sh $(JOBS)

test-arm64: ## cross-compile for 64-bit Arm in a Debian root and run the core tests under QEMU
	@scripts/test_distributions.sh bookworm:arm64

test-asan: setup ## run all tests under AddressSanitizer
	$(call check,asan)

test-ubsan: setup ## run all tests under UndefinedBehaviorSanitizer
	$(call check,ubsan)

# clang, because its OpenMP library reports its barriers to ThreadSanitizer.
test-tsan: setup ## run all tests under ThreadSanitizer
	@sh scripts/setup.sh clang
	$(call check,tsan)

# The script reads PYTHON= from the environment.
test-python: all ## run the tests of the Python package; PYTHON=FILE selects an interpreter, for example one with torch
	@sh tests/python.sh "$(CURDIR)/build/release/libmep.so" "$(CURDIR)/build/release/mep" "$(CURDIR)"

test-lm-eval: all ## compare libmep with transformers in the lm-evaluation-harness; PYTHON=FILE has lm_eval[hf,ruler]
	@sh scripts/check_lm_eval.sh

KILLS ?= 200
SEED ?= 1
torture: setup ## kill and resume a training run KILLS=200 times with SEED=1, and compare every byte
	@cmake --preset ci > /dev/null
	@cmake --build build/ci --target torture mep_cli
	@build/ci/tests/torture build/ci/mep $(KILLS) $(SEED)

STEPS_LONG ?= 20000
long-run: setup ## train a tiny model for STEPS_LONG=20000 steps and check that memory does not grow
	@cmake --preset ci > /dev/null
	@cmake --build build/ci --target test_long_run
	@MEP_LONG_STEPS=$(STEPS_LONG) build/ci/tests/test_long_run

wheel: ## build the Python package as a wheel for any x86-64 Linux, and its sources, in build/wheel; as root, with debootstrap
	@sh scripts/build_wheel.sh

PYTHONS ?= $(or $(PYTHON),python3) debian:bookworm debian:trixie
test-wheel: ## install both into empty environments and test them; PYTHONS="python3.9 debian:trixie" selects some
	@sh scripts/test_wheel.sh build/wheel/libmep-*.whl $(PYTHONS)
	@sh scripts/test_wheel.sh build/wheel/libmep-*.tar.gz $(PYTHONS)

FUZZ_SECONDS ?= 60
# Findings are written to build/fuzz/corpus. The tests replay fuzz/corpus.
fuzz: ## run every fuzzer, or FUZZ="bias corpus", for FUZZ_SECONDS=60 each
	@sh scripts/setup.sh clang
	@cmake --preset fuzz > /dev/null
	@cmake --build build/fuzz --target fuzzers
	@for name in $(or $(FUZZ),$(patsubst fuzz/fuzz_%.c,%,$(sort $(wildcard fuzz/fuzz_*.c)))); do \
		echo "== $$name"; \
		mkdir -p build/fuzz/corpus/$$name; \
		(cd build/fuzz && fuzz/fuzz_$$name corpus/$$name ../../fuzz/corpus/$$name -timeout=20 \
			-max_total_time=$(FUZZ_SECONDS) -print_final_stats=1) || exit 1; \
	done

# The script reads CORPUS= and STEPS= from the environment.
demo: all ## train four encodings on text and test them on longer text; STEPS=60 is quicker, CORPUS=FILE is your text
	@sh scripts/setup.sh demo
	@sh scripts/demo.sh build/release/mep

TIER ?= tier1
study: all ## the study of docs/study on the corpora in the folder DATA; TIER=tier2, recall, search, init or tier1-init; continues; PROCESSES=N divides its runs
	@DATA="$(DATA)" sh scripts/study.sh build/release/mep $(TIER)

study-corpora: ## make the corpora of docs/study in the folder DATA from their public sources; CODE=FILE takes the package of Linux that you have
	@[ -n "$(DATA)" ] || { echo 'DATA is missing: the folder to write the corpora to' >&2; exit 2; }
	@python3 scripts/study_corpora.py "$(DATA)" $(if $(CODE),--code "$(CODE)")

bench: all ## measure attention, decoding, products and training, about 20 minutes (docs/performance.md)
	@for what in attention decode gemm train 'train --preset small' 'train --preset gpt2' 'train --preset small --eval'; do \
		printf '\n### mep bench %s\n\n' "$$what"; \
		build/release/mep bench $$what --format markdown || exit 1; \
	done

bench-gpu: ## build with CUDA in build/cuda and measure attention, products and training on an NVIDIA GPU
	@cmake --preset release -B build/cuda -DMEP_CUDA=ON > /dev/null
	@cmake --build build/cuda
	@for what in 'attention --heads 12 --head-dim 64' 'attention --heads 16 --head-dim 128' 'gemm --batch-size 32' \
	    'train --preset small --batch-size 32' 'train --preset small --eval'; do \
		case $$what in attention*) what="$$what --tokens 16K --lengths 2K,4K,8K,16K --positions none,mep,mep_param" ;; esac; \
		printf '\n### mep bench %s\n\n' "$$what"; \
		build/cuda/mep bench $$what --device cuda --format markdown || exit 1; \
	done

install: all ## install to PREFIX=/usr/local
	@cmake --install build/release --prefix "$(PREFIX)"

clean: ## remove the folder build
	@rm -rf build

format: ## format the C, C++ and CUDA files with clang-format
	@clang-format -i $$(find src include tests fuzz examples -name '*.[ch]' -o -name '*.cpp' -o -name '*.cu' -o -name '*.cuh')

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile
