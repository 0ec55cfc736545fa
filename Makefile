# Two commands do all the set-up: `make report` and `make test`.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.ready

.PHONY: report test lab lint notebooks example clean

report: $(READY)            ## the example month into outputs/
	$(BIN)/collectlab report params/report.yml

test: $(READY) lint         ## every test, notebooks included
	shelf=$$(mktemp -d) && trap 'rm -rf "$$shelf"' EXIT && \
	COLLECTLAB_SHELF="$$shelf" $(BIN)/python -m pytest --nbval --doctest-modules -n 2 --dist loadfile src tests notebooks

lint: $(READY)
	$(BIN)/ruff check src tests benchmarks
	$(BIN)/ruff format --check -q src tests benchmarks
	$(BIN)/lint-imports
	$(BIN)/mypy --no-error-summary

lab: $(READY)               ## JupyterLab on the notebooks
	$(BIN)/jupyter lab notebooks

notebooks: $(READY)         ## run the committed notebooks again, in place
	$(BIN)/python -m collectlab.report.refresh notebooks

example: $(READY)           ## rebuild data/example, to the same bytes
	$(BIN)/collectlab simulate data/example --accounts 6000

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or later is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[lab,test]'
	@touch $(READY)

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis
