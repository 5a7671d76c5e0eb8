# AgentCoord. `make` alone lists what there is.
# Each target does all of its own set-up: Python 3.11+ and git are enough.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# One test at a time to whoever is free: by default a worker begins with all of the long ones.
PARALLEL := --numprocesses auto --maxschedchunk 1
DEMO_DIR ?= $(or $(TMPDIR),/tmp)/agentcoord-demo-$(shell date +%Y%m%d-%H%M%S)
# The demo's and the tests' commands are our own, so root may run them.
export AGENTCOORD_ALLOW_ROOT := 1
# Where it is set, every pytest worker would compile all of the tests anew, each time: ten seconds.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help run test calm check lint types imports docs-check fmt bench bench-cost bench-loop bench-night bench-daemon bench-sandbox bench-store bench-tui bench-workspace prove soak coverage nights redteam folding btrfs dashboard-pictures dashboard-grids report-in-browser clean sandbox constraints lowest

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than 3.11; fix: make PYTHON=python3.11 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "error: venv is missing; fix: install your system's python3-venv package" >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	@touch $@

sandbox:
	@sh scripts/install_bubblewrap.sh || true

run: $(VENV)/.run sandbox ## Play the demo night: ten tasks, six workers, a scripted model; no key needed
	@$(BIN)/agentcoord demo --dir "$(DEMO_DIR)"

# Installs what tests need beside Python, or names what cannot be: $$these leaves their tests out.
define other_tools
these="not folding and not btrfs"; \
without() { these="$$these and not $$1"; echo "$$2 cannot be installed here: its tests are left out$$3"; }; \
sh scripts/install_redis.sh || without system_redis redis-server " (all others use the Valkey that comes along)"; \
sh scripts/install_promtool.sh $(BIN) || without promtool promtool; \
sh scripts/install_tmux.sh || without tmux tmux " (the dashboard is tried in all other ways)"; \
command -v systemd-analyze >/dev/null || without systemd systemd-analyze;
endef

test: $(VENV)/.dev sandbox ## Run every test, in parallel, with a real Valkey; as root, the attacks also as an ordinary user
	@$(other_tools) \
	$(BIN)/python -m pytest $(PARALLEL) --quiet -m "$$these"
	@$(BIN)/python scripts/redteam_as_user.py $(PARALLEL)

calm: $(VENV)/.dev sandbox ## What judges the event loop's time, by itself: 50,000 files
	@$(BIN)/python -m pytest --quiet -m alone tests/acceptance

coverage: $(VENV)/.dev sandbox ## Branch coverage of store, workspace, agent and daemon; lists the lines that no test runs
	@rm -rf .coverage; $(other_tools) \
	$(BIN)/python -m coverage run -m pytest $(PARALLEL) --quiet --timeout 180 -m "$$these and not alone" || echo "some tests failed: this counts what ran"
	@$(BIN)/python -m coverage combine --quiet
	@$(BIN)/python scripts/coverage_by_room.py

nights: $(VENV)/.dev sandbox ## The demo night under each fault alone, then under all by dice (SEEDS=50); an hour or two
	@AGENTCOORD_FAULT_NIGHT=demo AGENTCOORD_FAULT_SEEDS=$(or $(SEEDS),50) \
		$(BIN)/python -m pytest $(PARALLEL) --verbose -o timeout=900 tests/acceptance/test_accept_faults.py

redteam: $(VENV)/.dev sandbox ## The attacks alone; as root, also as an ordinary user
	@$(BIN)/python -m pytest $(PARALLEL) --quiet tests/redteam
	@$(BIN)/python scripts/redteam_as_user.py $(PARALLEL)

folding: $(VENV)/.dev ## As root, with ntfs-3g or exfat-fuse: landing and undo on disks that take upper and lower case for the same
	@scripts/on_folding_disk.sh $(BIN)/python -m pytest --quiet -m folding tests/integration/workspace

btrfs: $(VENV)/.dev ## As root, with btrfs-progs: private copies that begin as snapshots of one another
	@scripts/on_btrfs_disk.sh $(BIN)/python -m pytest --quiet -m btrfs tests/integration/workspace

check: lint types imports docs-check test ## Lint, types, import layers, documentation, tests

lint: $(VENV)/.dev ## Style and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet
	@for script in scripts/*.sh .ci/run; do bash -n "$$script"; done

types: $(VENV)/.dev ## mypy, strict
	@$(BIN)/mypy
	@for fixtures in $$(find tests -mindepth 2 -name conftest.py); do $(BIN)/mypy --no-error-summary "$$fixtures" || exit 1; done

imports: $(VENV)/.dev ## The layers of the house
	@$(BIN)/lint-imports

docs-check: $(VENV)/.dev ## Links, generated pages and examples in the documentation
	@$(BIN)/python scripts/check_docs.py

fmt: $(VENV)/.dev ## Format the code
	@$(BIN)/ruff check --fix --quiet
	@$(BIN)/ruff format --quiet

bench: $(VENV)/.dev sandbox ## Run every benchmark; prints ratios against a baseline of the same run
	@for program in scripts/bench/bench_*.py; do echo "== $$program"; $(BIN)/python "$$program"; done

bench-cost: $(VENV)/.dev ## Dollars and cached share against no caching and a naive loop
	@$(BIN)/python scripts/bench/bench_cost.py

bench-loop: $(VENV)/.dev ## CPU a turn, memory a worker and longest block against a bare SDK loop
	@$(BIN)/python scripts/bench/bench_loop.py

bench-night: $(VENV)/.dev sandbox ## Sixty scripted tasks against the ideal; six workers against six processes of another agent
	@$(BIN)/python scripts/bench/bench_night.py

bench-daemon: $(VENV)/.dev sandbox ## Time to ready, processor and memory when idle, how fast the reading commands answer
	@$(BIN)/python scripts/bench/bench_daemon.py

bench-sandbox: $(VENV)/.dev sandbox ## What the sandbox adds to a command, against the same command without it
	@$(BIN)/python scripts/bench/bench_sandbox.py

bench-store: $(VENV)/.dev ## Measure the store against other Python queues; QUICK=1 for a first look
	@$(BIN)/python scripts/bench/bench_store.py $(if $(QUICK),--quick)

bench-workspace: $(VENV)/.dev ## Private copies against git worktrees, landings, disk; IMAGE=1 as root for Btrfs and XFS
	@$(BIN)/python scripts/bench/bench_workspace.py $(if $(IMAGE),--image)

bench-tui: $(VENV)/.dev ## The dashboard: first data, 20,000 events a second, a normal night, against a DataTable
	@$(BIN)/python scripts/bench/bench_tui.py

prove: $(VENV)/.run sandbox ## A night on a real package that none of us wrote
	@$(BIN)/python scripts/prove_on_real_package.py

soak: $(VENV)/.dev sandbox ## Tasks through one daemon under kills, Redis restarts, clock steps, storms; MINUTES=60 by hand
	@$(BIN)/python scripts/soak/soak.py --minutes $(or $(MINUTES),2) $(if $(SEED),--seed $(SEED))

dashboard-pictures: $(VENV)/.dev ## Draw the pictures of the dashboard in docs/images
	@$(BIN)/python scripts/dashboard_pictures.py

dashboard-grids: $(VENV)/.dev ## Store the screens of the dashboard as text anew, at three sizes; then look at what changed
	@AGENTCOORD_RENEW_GRIDS=1 $(BIN)/python -m pytest --numprocesses auto --quiet tests/unit/tui/test_tui_grids.py

report-in-browser: $(VENV)/.dev ## Open the morning report in a headless Chromium, as phone and desk, light and dark
	@$(BIN)/python scripts/report_in_browser.py

constraints: $(VENV)/.dev ## Write constraints.txt from what is installed
	@$(BIN)/python -m pip freeze --exclude-editable | grep -v -i '^agentcoord' > constraints.txt

lowest: $(VENV)/.run sandbox ## The tests of the parts with the oldest versions of everything that pyproject.toml allows
	@$(PYTHON) -m venv --clear $(VENV)/lowest
	@$(VENV)/lowest/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	@$(PYTHON) scripts/lowest_versions.py > $(VENV)/lowest/versions.txt
	@$(VENV)/lowest/bin/python -m pip install --quiet --prefer-binary --constraint $(VENV)/lowest/versions.txt --editable . --group dev
	@$(other_tools) sh scripts/install_promtool.sh $(VENV)/lowest/bin || true; \
	$(VENV)/lowest/bin/python -m pytest $(PARALLEL) --quiet -m "$$these" tests/unit tests/integration

clean: ## Remove the environment and caches
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .coverage .hypothesis build dist
