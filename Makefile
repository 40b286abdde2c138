# The habits of this project. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
STAMP := $(VENV)/.installed
# Tests and tools see the tree, never a stale installed copy.
export PYTHONPATH := $(CURDIR)/compiler:$(CURDIR)/python
JOBS ?= $(shell nproc)

.DEFAULT_GOAL := help

help: ## list these habits
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) toolchain ## .venv with torch and every Python need; Arm and RISC-V toolchains and QEMU

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV) || { $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq python3-venv && $(PYTHON) -m venv $(VENV); }
	$(BIN)/pip install -q --upgrade pip
	@# A CPU build first, where one is to be had: a looser request may bring gigabytes of CUDA.
	$(BIN)/pip install -q $(TORCH)+cpu 2>/dev/null || $(BIN)/pip install -q $(TORCH)
	$(BIN)/pip install -q -e '.[train,test,docs]'
	touch $@

toolchain:
	@missing=""; \
	command -v cc >/dev/null || missing="$$missing gcc libc6-dev"; \
	command -v g++ >/dev/null || missing="$$missing g++"; \
	command -v cmake >/dev/null || missing="$$missing cmake"; \
	command -v ninja >/dev/null || missing="$$missing ninja-build"; \
	command -v arm-none-eabi-gcc >/dev/null || missing="$$missing gcc-arm-none-eabi libnewlib-arm-none-eabi"; \
	command -v riscv64-unknown-elf-gcc >/dev/null || missing="$$missing gcc-riscv64-unknown-elf"; \
	command -v qemu-system-arm >/dev/null || missing="$$missing qemu-system-arm"; \
	[ -z "$$missing" ] || { echo "installing:$$missing"; $(SUDO) apt-get update -qq && $(SUDO) apt-get install -y -qq $$missing >/dev/null; }

demo: setup ## the main job: LeNet-5 on MNIST from float weights to firmware on an emulated Cortex-M0
	$(BIN)/lutra data fetch mnist
	mkdir -p demo-output
	$(BIN)/lutra compress zoo:lenet5/float --data mnist --config zoo:lenet5/demo -o demo-output/lenet5.lutra
	$(BIN)/lutra generate demo-output/lenet5.lutra -o demo-output/lenet5 --prefix lenet5 --target cortex-m0
	$(BIN)/lutra validate demo-output/lenet5.lutra --data mnist --reference zoo:lenet5/float --board microbit
	$(BIN)/lutra bench demo-output/lenet5 --board microbit

test: setup lint types docs ## everything that must hold
	OMP_NUM_THREADS=1 $(BIN)/pytest -n $(JOBS) --dist loadgroup -q
	$(MAKE) fuzz FUZZ_OPTIONS="--inputs 30000"

lint: $(STAMP) ## ruff and the rules of who imports whom
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP) ## mypy --strict
	$(BIN)/mypy

FUZZ_OPTIONS ?= --seconds 600
fuzz: $(STAMP) ## fuzz the readers of .onnx and .lutra files, ten minutes each (guided by coverage where atheris is installed)
	$(BIN)/python tests/hostile/fuzz.py onnx $(FUZZ_OPTIONS)
	$(BIN)/python tests/hostile/fuzz.py lutra $(FUZZ_OPTIONS)

docs: $(STAMP) ## the documentation as a site, in build/site; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

sizes: $(STAMP) toolchain ## regenerate runtime_c/SIZES.md and the code sizes that the compiler counts with
	$(BIN)/python benchmarks/sizes.py

bench: bench-compression ## the same, and docs/host-speed.md
	$(BIN)/python benchmarks/host_speed.py

bench-compression: $(STAMP) toolchain ## regenerate docs/results.md, README's tables and docs/benchmarks/index_coding.md from the released artefacts
	$(BIN)/python benchmarks/results.py
	$(BIN)/python benchmarks/index_coding.py

bench-kernels: $(STAMP) toolchain ## regenerate docs/benchmarks/kernels.md and .json: every kernel on single layers of every target
	$(BIN)/python benchmarks/kernels.py

bench-models: $(STAMP) toolchain ## regenerate docs/benchmarks/models.md and .json: whole networks on every target
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/models.py

bench-post-training: $(STAMP) ## regenerate docs/benchmarks/post_training.md and .json: compression without training data
	$(BIN)/python benchmarks/post_training.py

bench-third-party: $(STAMP) toolchain ## regenerate docs/benchmarks/third_party.md and .json: models that others trained (LUTRA_MODELS)
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/third_party.py

cost-model: $(STAMP) toolchain ## refit the compiler's cycles to the kernels: compiler/lutra_compiler/program/cycles.json
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/fit_cost_model.py

choice: $(STAMP) toolchain ## regenerate docs/benchmarks/choice.md: is the chosen kernel the best one
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/choice.py

budgets: $(STAMP) toolchain ## regenerate docs/benchmarks/budgets.md: are limits of flash and RAM kept
	OMP_NUM_THREADS=1 $(BIN)/python benchmarks/budgets.py

documents: $(STAMP) ## regenerate docs/supported-operators.md and docs/onnx-node-tests.md from the frontends' own checks
	$(BIN)/python benchmarks/supported_operators.py
	$(BIN)/python benchmarks/onnx_node_tests.py

wheel: $(STAMP) ## dist/lutra_mcu-*.whl
	$(BIN)/pip wheel -q --no-deps -w dist .

first-minute: wheel ## time the way from the wheel and an empty venv to a validated LeNet-5
	$(BIN)/python benchmarks/first_minute.py dist/lutra_mcu-*.whl

clean: ## remove what was built (not .venv)
	rm -rf build dist

.PHONY: help setup toolchain demo test lint types docs fuzz sizes bench bench-compression bench-kernels bench-models bench-post-training bench-third-party cost-model choice budgets documents wheel first-minute clean
