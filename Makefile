# `make demo` and `make test` need only python3 and make: they set up everything else, once, in $(VENV) and .peers.
#   make demo                       a secure echo with every package, its wire shown
#   make test                       installs what the tests need, foreign implementations included, and runs them
#   make lint                       ruff, mypy --strict, pyright strict
#   make bench                      speed, beside the peers
#   make clean                      removes the environment and the caches
# PYTHON=/path/to/python3 and VENV=folder choose the interpreter and where its environment goes; PYTEST_ARGS go to pytest.

VENV ?= .venv
PYTHON ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
CHECKED := securestream providers tests examples benchmarks

python := $(VENV)/bin/python
pip := $(python) -m pip --disable-pip-version-check install --quiet

.PHONY: demo test peers lint bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(python) -m securestream.cli.demo

test: $(VENV)/.installed-test peers
	$(python) -m pytest $(PYTEST_ARGS)

# Foreign implementations. What cannot be installed here is named, and its tests are skipped; CI fails instead.
peers: $(VENV)/.installed-test
	@$(python) -m tests.interop.install

lint: $(VENV)/.installed-lint
	@failed=0; run() { echo "$$*"; "$$@" || failed=1; }; \
	run $(VENV)/bin/ruff check .; \
	run $(VENV)/bin/ruff format --check .; \
	run $(VENV)/bin/mypy --strict $(CHECKED); \
	run $(VENV)/bin/pyright --pythonpath $(python); \
	exit $$failed

bench: $(VENV)/.installed-test
	@$(python) -m benchmarks $(BENCH_ARGS)

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis build dist

$(VENV)/.made:
	@set -e; python='$(PYTHON)'; [ -n "$$python" ] || python=$$(sh .ci/find-python); \
	[ -x $(VENV)/bin/pip ] || "$$python" -m venv --clear $(VENV); \
	touch $@

# Each stamp is as new as what was installed from: a changed pyproject.toml installs again.
$(VENV)/.installed: $(VENV)/.made pyproject.toml
	@$(pip) --editable . && touch $@

$(VENV)/.installed-test: $(VENV)/.made pyproject.toml
	@$(pip) --editable '.[test]' && touch $@ $(VENV)/.installed

$(VENV)/.installed-lint: $(VENV)/.made pyproject.toml
	@$(pip) --editable '.[lint]' && touch $@ $(VENV)/.installed-test $(VENV)/.installed
