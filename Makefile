# Each target builds the environment that it needs; nothing but Python 3.11+ and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/python -m pytest -q -n auto

.PHONY: demo test backends statistics hazards versions lint notebooks benchmark clean

demo: $(VENV)/demo
	$(BIN)/dlngeo complete --demo --output demo-output

test: $(VENV)/dev
	GEOMSTATS_BACKEND=numpy $(PYTEST) tests --ignore tests/statistics --ignore tests/hazards

# The spaces under the other two backends of geomstats.
backends: $(VENV)/dev
	GEOMSTATS_BACKEND=autograd $(PYTEST) tests/manifolds/geomstats tests/external
	GEOMSTATS_BACKEND=pytorch $(PYTEST) tests/manifolds/geomstats tests/external

# Minutes long: what holds for almost all of many random cases, laws of long chains, the README.
statistics: $(VENV)/dev
	$(PYTEST) tests/statistics

# What must not happen: hundreds of bad files, under bounds of memory and time; runs that are killed,
# interrupted and terminated at random moments, without room or in each other's way.
hazards: $(VENV)/dev
	$(PYTEST) tests/hazards

# What meets other libraries, at the lowest versions that pyproject.toml allows and at the newest.
MEETS := tests/test_geomstats_import.py tests/test_extras.py tests/core/base tests/systems \
	tests/sampling/test_diagnostics.py tests/app/files tests/external/test_geomstats_learning.py
versions: $(VENV)-lowest/test $(VENV)-newest/test
	$(VENV)-lowest/bin/python -m pytest -q -n auto $(MEETS)
	$(VENV)-newest/bin/python -m pytest -q -n auto $(MEETS)

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo

# Execute every notebook and keep its figures in the file.
notebooks: $(VENV)/dev
	$(BIN)/jupyter nbconvert --to notebook --execute --inplace \
		--ExecutePreprocessor.record_timing=False notebooks/*.ipynb

benchmark: $(VENV)/dev
	$(BIN)/python benchmarks/kernels.py
	$(BIN)/python benchmarks/curvature.py
	$(BIN)/python benchmarks/geodesics.py
	$(BIN)/python benchmarks/optimization.py
	$(BIN)/python benchmarks/sharpness.py
	$(BIN)/python benchmarks/training.py
	$(BIN)/python benchmarks/implicit_bias.py
	$(BIN)/python benchmarks/langevin.py
	$(BIN)/python benchmarks/conservation_laws.py
	$(BIN)/python benchmarks/path_lifting.py
	$(BIN)/python benchmarks/neural_ode.py
	$(BIN)/python benchmarks/diffusion.py
	$(BIN)/python benchmarks/depth_sgd.py

clean:
	rm -rf $(VENV) $(VENV)-lowest $(VENV)-newest build demo-output *.egg-info

$(VENV)/pip:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "dlngeo needs Python 3.11 or later; set PYTHON=")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	touch $@

$(VENV)/demo: $(VENV)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/dev: $(VENV)/pip pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[all]' --group dev
	touch $@ $(VENV)/demo

$(VENV)-%/test: pyproject.toml constraints.txt .ci/versions.py
	"$$($(PYTHON) .ci/versions.py $* python)" -m venv --clear $(VENV)-$*
	@echo "The $* versions are tried with $$($(VENV)-$*/bin/python --version)."
	$(VENV)-$*/bin/python -m pip install --quiet --upgrade pip
	$(PYTHON) .ci/versions.py $* > $(VENV)-$*/constraints.txt
	$(VENV)-$*/bin/python -m pip install --quiet --constraint $(VENV)-$*/constraints.txt \
		--editable '.[fast,torch,jax,control,sampling,dask]' --group test
	touch $@
