# Every target makes .venv itself, and again only when pyproject.toml or constraints.txt change.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: demo test check bench clean

demo: $(INSTALLED)  ## train a network under the scope and write its report
	$(BIN)/learnscope demo

test: $(INSTALLED)  ## run the tests and the examples in the documentation
	$(BIN)/python -m pytest -n 2 --dist loadfile

check: $(INSTALLED)  ## style, types, and the import rules between the rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

bench: $(INSTALLED)  ## time us against our peers
	$(BIN)/python benchmarks/run.py

clean:  ## remove what the targets above made; runs/ is kept
	rm -rf .venv build dist .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@
