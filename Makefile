# Two commands set up everything: `make demo` runs the main job, `make test` passes the tests.
# Both build their own virtual environment in .venv first.

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.PHONY: help demo test check fast sanitize extras docs wheel clean

help:
	@echo "make demo    install, search activations on the digits, write a report"
	@echo "make test    install, then lint, type check and tests"
	@echo "make extras  the tests of Ray, timm, trl, Lightning and Jupyter, in an environment of their own"
	@echo "make docs    the documentation site in docs/build/html"
	@echo "make fast    the tests alone, in the installed environment"
	@echo "make sanitize  the compiled core under the address and undefined-behaviour sanitizers"
	@echo "make wheel   the source distribution and the wheel, in dist/"
	@echo "make clean   remove the environment and what was built"

$(STAMP): pyproject.toml constraints.txt $(wildcard setup.py)
	$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"nonlin needs Python 3.11 or newer, this is {v.major}.{v.minor}; try: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -c constraints.txt -e '.[dev]'
	@touch $@

demo: $(STAMP)
	@mkdir -p demo
	$(BIN)/nonlin search --task digits-mlp --space core-1 --budget 150 --store demo/digits.db --report demo/report.html

test: $(STAMP) check fast

check: $(STAMP)
	$(BIN)/ruff check src tests examples benchmarks docs
	$(BIN)/mypy

fast: $(STAMP)
	$(BIN)/python -m pytest -q -n 2

sanitize: $(STAMP)
	$(BIN)/python -m pytest -q tests/native/test_sanitizers.py

# timm asks for torchvision, which none of the models needs that are used here: it is installed without
extras:
	$(MAKE) VENV=.venv-extras .venv-extras/.installed
	.venv-extras/bin/python -m pip install --quiet -c constraints.txt -e '.[ray,hf]' lightning sacrebleu nbclient ipykernel
	.venv-extras/bin/python -m pip install --quiet --no-deps timm
	.venv-extras/bin/python -m pytest -q tests/integrations tests/examples tests/experiments tests/tasks tests/run/test_cluster.py

docs: $(STAMP)
	$(BIN)/python -m pip install --quiet --upgrade-strategy only-if-needed -c constraints.txt -e '.[docs]'
	$(BIN)/sphinx-build -q -W --keep-going -b html docs docs/build/html
	@echo "docs/build/html/index.html"

# the wheel from the unpacked source distribution, as an installer would build it
wheel: $(STAMP)
	rm -rf dist
	$(BIN)/python -m pip install --quiet 'setuptools>=77'
	$(BIN)/python setup.py -q sdist
	$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation -w dist dist/*.tar.gz
	@ls dist

clean:
	rm -rf $(VENV) .venv-extras build dist demo docs/build docs/generated src/*.egg-info src/nonlin/native/_core*.so .mypy_cache .ruff_cache .pytest_cache .hypothesis
