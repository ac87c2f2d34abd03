# The commands of this house. Each first makes sure that .venv is what constraints.txt pins.
.PHONY: help setup reproduce test lab docs bench constraints clean
.DEFAULT_GOAL := help

export PYTHON
export JUPYTER_PREFER_ENV_PATH = 1
unexport PYTHONHOME PYTHONPATH

python := .venv/bin/python
candidates := .venv/bin/python "$$PYTHON" python3 python3.13 python3.12 python3.11 python

help: ## list these commands
	@awk -F ': [^#]*## ' '/^[a-z]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## make .venv and install what constraints.txt pins
	@for candidate in $(candidates); do \
		if "$$candidate" -c "" >/dev/null 2>&1; then exec "$$candidate" tools/setup.py; fi; \
	done; \
	echo "lstm_market needs Python 3.11 to 3.13, and no Python runs here; install one." >&2; exit 1

reproduce: setup ## run the book on the simulated market and make its pages
	@$(python) -m lstm_market.book.cli reproduce

test: setup ## run every test; the last line counts them
	@$(python) tests/run.py

lab: setup ## open the notebooks in JupyterLab; NOTEBOOK=nbs/book/B01_what_was_traded.ipynb opens one
	@$(python) -m jupyterlab "$(or $(NOTEBOOK),nbs)" $$(test "$$(id -u)" != 0 || echo --allow-root) $(LAB)

docs: setup ## make the HTML book from what has been run
	@$(python) -m lstm_market.book.cli pages

bench: setup ## measure the speeds that the notebooks claim
	@$(python) -m lstm_market.book.cli bench

constraints: setup ## resolve settings.ini into constraints.txt; UPGRADE=1 takes the newest
	@$(python) tools/constraints.py $(if $(UPGRADE),--upgrade)

clean: ## remove what the commands made, but .venv and data
	@rm -rf build dist *.egg-info .snakemake .coverage* .hypothesis
	@rm -rf .pytest_cache .ruff_cache .import_linter_cache nbs/.ipynb_checkpoints
