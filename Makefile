# `make demo` and `make test` set themselves up: python3 >= 3.11, make and PyPI are enough; the tests take a
# browser and promtool from Debian, as root.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: demo test test-system test-vm test-packages system-packages rpm lint bench soak fuzz audit clean

demo: $(VENV)/.demo
	@exec $(BIN)/python -m demo $(ARGS)

# One process more than there are processors: most tests wait for processes of their own.
test: $(VENV)/.dev test-packages
	$(BIN)/python -m pytest --numprocesses $$(( $$(nproc) + 1 )) --dist loadgroup --ignore tests/system --ignore tests/vm $(ARGS)

# On a real systemd: root on Debian. Five minutes, and never more than twenty; the mounts of its machines end with
# it, whatever happens.
test-system: $(VENV)/.dev system-packages
	unshare --mount -- timeout --kill-after=1m 20m $(BIN)/python -m pytest tests/system $(ARGS)

# In an emulated machine, on a kernel that enforces limits. Not a part of the gate: two minutes for six facts.
test-vm: SYSTEM_PACKAGES := mmdebstrap qemu-system-x86 cpio zstd
test-vm: $(VENV)/.dev system-packages
	$(BIN)/python -m pytest tests/vm $(ARGS)

# The interpreter that the package is for; Amazon Linux 2023 has both.
RPM_PYTHON ?= $(if $(wildcard /usr/bin/python3.13),python3.13,python3.11)

rpm: $(VENV)/.demo
	@packaging/rpm/build.sh $(BIN)/python $(RPM_PYTHON) dist
	@packaging/rpm/report.sh dist/*.noarch.rpm

SYSTEM_PACKAGES := systemd dbus systemd-container rpm dnf rpmlint iproute2 procps util-linux man-db
# promtool, a browser with letters to draw, shells and troff, for tests of what people and Prometheus are shown.
TEST_PACKAGES := prometheus chromium fonts-dejavu-core bash zsh fish groff-base

# Not `:=`: test-vm has others.
system-packages: PACKAGES = $(SYSTEM_PACKAGES)
test-packages: PACKAGES := $(TEST_PACKAGES)

system-packages test-packages:
	@dpkg-query --show $(PACKAGES) >/dev/null 2>&1 || { \
	  test $$(id -u) = 0 || { echo "packages of Debian's are missing; as root: apt-get install $(PACKAGES)" >&2; exit 1; }; \
	  echo "installing with apt-get: $(PACKAGES)" && \
	  apt-get update --quiet --quiet && \
	  DEBIAN_FRONTEND=noninteractive apt-get install --quiet --quiet --yes --no-install-recommends \
	    --option DPkg::Lock::Timeout=300 --option Dpkg::Use-Pty=0 $(PACKAGES) >/dev/null; }

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/cfn-lint
	$(BIN)/yamllint --strict cloudformation

# An hour of a fleet in trouble: ARGS="--minutes 20 --svg FILE" for less.
soak: $(VENV)/.dev
	$(BIN)/python -m tests.chaos.soak $(ARGS)

# Longer than the tests' share of it, and guided by the branches that are taken: ARGS="http --seconds 600".
$(VENV)/.fuzz: $(VENV)/.dev requirements/fuzz.txt
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements/fuzz.txt
	@touch $@

fuzz: $(VENV)/.fuzz
	$(BIN)/python -m tests.fuzz $(ARGS)

# Locked versions against known vulnerabilities. Not a part of the gate, which must not fail for what was found
# elsewhere: before a release, and each night where there is a network. ADVISORIES=DIR is a checkout of one's own.
ADVISORIES ?= build/advisories

audit: $(VENV)/.dev
	@test -d $(ADVISORIES) || git clone --quiet --depth 1 https://github.com/pypa/advisory-database $(ADVISORIES)
	@$(BIN)/python packaging/rpm/audit.py $(ADVISORIES) requirements/*.txt

bench: $(VENV)/.demo
	$(BIN)/python -m bench $(ARGS)

# Made anew when a lock file changes, so that no old package lingers.
# --no-compile: Python compiles what is really imported; half the time.
$(VENV)/.demo: requirements/runtime.txt requirements/demo.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "observerd needs Python 3.11 or later: make PYTHON=python3.x")'
	@echo "installing the locked dependencies into $(VENV)"
	@rm -rf $(VENV) && $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements/runtime.txt -r requirements/demo.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: $(VENV)/.demo requirements/dev.txt
	@echo "installing the development tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --no-compile --require-hashes -r requirements/dev.txt
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
