# `make dataset` and `make test` set up what they need in .venv; a second call is quick.
# The newest that starts and fits: a version manager may have a name on the path for what isn't there.
PYTHON ?= $(shell for each in python3.13 python3.12 python3.11 python3; do \
  $$each -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2> /dev/null && echo $$each && break; done)
BIN := $(CURDIR)/.venv/bin
export PATH := $(BIN):$(PATH)
export HF_HUB_OFFLINE := 1
export DO_NOT_TRACK := 1
# Where an image or a shell sets it, each of eighty stages would compile all the code again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup dataset test lint proof quality pictures serve clean

help:
	@echo "make dataset   build the demo dataset: every stage through dvc repro, a release in data/release/"
	@echo "make test      linters, types and the whole test suite"
	@echo "make quality   the larger dataset of params.quality.yaml, in build/quality"
	@echo "make pictures  the pictures in docs, of the demo dataset"
	@echo "make proof     what is too long for every run: full rebuilds, kills, benchmarks"
	@echo "make serve     a Prefect server on 127.0.0.1:4200 with the nightly rebuild"
	@echo "make clean     remove .venv and build; data stays"

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "setup: no Python 3.11 to 3.13 with venv was found; install one, or set PYTHON=" >&2; exit 1; }
	@echo "setup: a virtual environment in .venv, with the packages of constraints.txt (7 GB, a few minutes)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]' || \
	  { echo "setup: the packages could not be installed; is the package index within reach?" >&2; exit 1; }
	@echo "setup: the nets that find faces and people"
	@$(BIN)/python -m flows weights face_detector face_mesh selfie_segmentation
	@touch $@

dataset: setup
	@python -m flows scan
	@dvc repro --quiet
	@echo "dataset: done. The card is data/release/README.md; python -m flows look draws contact sheets."

lint: setup
	@ruff check --quiet
	@ruff format --check --quiet
	@mypy --no-error-summary

test: lint
	@pytest -n 2 --dist worksteal

build/quality:
	@git clone --quiet . $@

quality: setup build/quality
	@cd build/quality && git pull --quiet && cp params.quality.yaml params.yaml && dvc repro --quiet && python -m flows look
	@echo "quality: done. Its card is build/quality/data/release/README.md, its contact sheets are in build/quality/build/look"

pictures: dataset
	@python -m benchmarks.pictures

proof: setup
	@pytest -m proof -s
	@for each in $$(grep -rl --include=*.py __main__ benchmarks | grep -v -e pictures -e voice/sync | sort); do echo "== $$each"; \
	  python -m $$(echo $${each%.py} | sed 's/.__main__//' | tr / .); done

serve: setup
	@python -m flows serve

clean:
	rm -rf .venv build
