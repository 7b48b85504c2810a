# The commands of LPMOS. Each does all of its own set-up.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv/bin
ROOT := requirements/as-root
NPM := PATH=$(CURDIR)/.venv/node/bin:$$PATH npm --prefix web
# Whole files are shared out to processes; most of their time is waiting, for disks, peers and guests.
PROCESSES ?= 4
PYTEST := PYTHONHASHSEED=0 $(VENV)/pytest -n $(PROCESSES) --dist loadfile --no-loadscope-reorder

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: ## install two virtual servers, from netboot to login prompt (APPROVE=manual, DEMO_EXIT=1)
	@$(ROOT) true
	@requirements/install demo
	@$(ROOT) $(VENV)/lpmos lab demo

demo-simulated: ## the same flow with simulated machines: no root, no QEMU
	@requirements/install simulated
	@$(VENV)/lpmos lab demo --simulated

test: ## everything, real firmware included (PROCESSES=1: one after the other)
	@$(ROOT) true
	@requirements/install test
	@$(MAKE) --no-print-directory -j3 -Oline lint-python lint-dashboard images
	@$(ROOT) env $(PYTEST) --durations=10

test-installers: ## Debian's installer as far as any mirror lets it, as `make test` does; with LPMOS_MIRROR=URL each installer to its login prompt
	@$(ROOT) true
	@requirements/install test
	@$(ROOT) env LPMOS_MIRROR="$(LPMOS_MIRROR)" $(VENV)/pytest tests/e2e/test_debian_installer.py $(if $(LPMOS_MIRROR),tests/e2e/whole_installs.py)

test-windows: ## Windows's boot script with the real wimboot that WIMBOOT=FILE names, in virtual machines
	@$(ROOT) true
	@requirements/install test
	@$(ROOT) env WIMBOOT="$(WIMBOOT)" $(VENV)/pytest tests/e2e/windows_boot.py

test-causes: ## why a machine is stuck, caused for real where that takes minutes of guests
	@$(ROOT) true
	@requirements/install test
	@$(ROOT) $(VENV)/pytest tests/e2e/causes.py

test-matrix: ## firmware x card x disk bus x disks, on real firmware, for hours (FULL=1: all; CELLS="NAME...")
	@$(ROOT) true
	@requirements/install test
	@$(ROOT) $(VENV)/python -m tests.matrix --write $(if $(FULL),--full) $(CELLS)

test-fast: ## unit tests and layers, under a minute
	@requirements/install test
	@$(VENV)/lint-imports > /dev/null
	@$(PYTEST) tests/unit

lint: ## style, types, layers, of the code and of the dashboard
	@requirements/install test
	@$(MAKE) --no-print-directory -j2 -Oline lint-python lint-dashboard

lint-python:
	@$(VENV)/ruff check .
	@$(VENV)/ruff format --check -q .
	@$(VENV)/mypy
	@$(VENV)/lint-imports

lint-dashboard:
	@$(VENV)/python -m lpmos.control.openapi > build/openapi.json
	@$(NPM) run -s schema > /dev/null
	@$(NPM) run -s check
	@$(NPM) run -s test

# As `make demo` has them; the tests would wait for them, and say what they miss where there are none.
images:
	-@$(ROOT) $(VENV)/python -m tests.support.lab_images

dashboard: ## build the pages of the dashboard
	@requirements/install simulated

screenshots: ## every page of the dashboard as a picture, in screenshots/
	@requirements/install test
	@$(VENV)/python -m tests.support.screenshots screenshots

bench: ## every benchmark, as ratios against a peer or a limit (WRITE=1 writes the table, BENCH="dhcp outbox" runs these)
	@$(ROOT) true
	@requirements/install bench
	@$(ROOT) $(VENV)/python -m bench $(if $(WRITE),--write) $(BENCH)

docs: ## write the generated pages anew
	@requirements/install test
	@$(VENV)/lpmos reference docs/reference

requirements: ## pin the newest versions of the Python packages
	@for list in runtime dev dashboard; do \
	  $(VENV)/uv pip compile -q --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	    requirements/$$list.in -o requirements/$$list.txt; done

start-etcd: ## a single etcd for trying out, in build/etcd, until Ctrl-C
	@requirements/install etcd
	@mkdir -p build/etcd && exec etcd --data-dir build/etcd --log-level warn

# Root's commands write into build/ too: it is the user's, whoever comes first, and so is what only the user writes.
demo test test-installers test-windows test-causes test-matrix test-fast lint screenshots bench docs start-etcd: | build
build:
	@mkdir -p $@
	@[ -w $@ ] || $(ROOT) chown "$$(id -u):$$(id -g)" $@
	@for each in $@/azurite $@/openapi.json; do [ ! -e $$each ] || [ -w $$each ] || $(ROOT) rm -rf $$each; done

clean: ## remove what was built
	@rm -rf build .venv web/node_modules src/lpmos/control/dashboard 2> /dev/null || $(ROOT) rm -rf build .venv web/node_modules src/lpmos/control/dashboard

.PHONY: help demo demo-simulated test test-causes test-installers test-windows test-matrix test-fast lint lint-python lint-dashboard images dashboard screenshots bench docs requirements start-etcd build clean
