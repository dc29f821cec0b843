# Every target sets up .venv from the hashed lock by itself; only Python 3.11+, git and make are needed.
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
# One more than there are processors: tests wait for processes and for PostgreSQL.
JOBS ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
PARALLEL := -n $(JOBS) --maxprocesses 6 --dist worksteal

ONLY ?=

.PHONY: install run test test-slowest check format openapi lock bench cores soak proxies attacks sbom clean

install: $(STAMP)

# The lock of developers holds both extras: the embedded PostgreSQL and the reports of packs.
$(STAMP): requirements-dev.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Outbound needs Python 3.11 or newer: none was found on PATH" >&2; exit 1; }
	@$(BIN)/python -c '' 2>/dev/null || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

run: install
	$(BIN)/outbound serve --sample

# The tests start the program a hundred times: what it is compiled to is kept, whatever the environment says.
test: install
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest $(PARALLEL) -p tests.core_coverage

# The slowest tenth of the suite, by name.
test-slowest: install
	env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -m pytest $(PARALLEL) --durations-min=0 \
		--durations=$$($(BIN)/python -m pytest --collect-only -qq | awk -F': ' '{ all += $$2 } END { print int(all / 10) }')

check: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml service
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/outbound openapi --check openapi/openapi.json
	$(BIN)/python -m pytest --noconftest tests/unit/test_vocabulary.py tests/unit/test_vocabulary_of_pages.py

# Every pure decision is covered to the last branch by the tests that need no database; `make test` demands it too.
cores: install
	$(BIN)/python -m pytest $(PARALLEL) -p tests.core_coverage tests/law tests/unit tests/properties

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

openapi: install
	$(BIN)/outbound openapi > openapi/openapi.json

# All actors, all acts, any order: 500 examples of 50 steps. The bounds of persons by hash: 1,000 trials.
# Who may do what: each route as each caller, also by token and by session, and each id of one company at another.
# The gate: thousands of races against revocations and quotas, kills and cut connections. Packs: thousands of flipped bits, 100,000 exports.
# 10,000 mixed requests through a real nginx and as many through a real HAProxy: every answer belongs to its own request.
# 100,000 requests made from the OpenAPI document, by several callers, along its links: no 5xx, every answer as documented.
soak: install
	OUTBOUND_COUNTING_TRIALS=$${OUTBOUND_COUNTING_TRIALS:-1000} $(BIN)/python -m pytest tests/unit/test_counting.py
	OUTBOUND_SOAK_EXAMPLES=$${OUTBOUND_SOAK_EXAMPLES:-500} OUTBOUND_SOAK_STEPS=$${OUTBOUND_SOAK_STEPS:-50} \
		$(BIN)/python -m pytest tests/api/test_machine.py
	OUTBOUND_SOAK_GATE=1 $(BIN)/python -m pytest -n 2 tests/faults/test_races_of_the_gate.py tests/faults/test_batches.py \
		tests/api/test_races.py tests/api/test_verify.py tests/faults/test_tampering.py tests/faults/test_large_packs.py \
		tests/faults/test_state.py tests/api/test_two_persons.py
	OUTBOUND_SOAK_REQUESTS=$${OUTBOUND_SOAK_REQUESTS:-100000} $(BIN)/python -m pytest -rs tests/api/test_fuzz.py
	OUTBOUND_SOAK_AUTHZ=1 $(BIN)/python -m pytest -n 2 tests/authz
	$(MAKE) --no-print-directory proxies
	OUTBOUND_SOAK_PROXIES=$${OUTBOUND_SOAK_PROXIES:-10000} $(BIN)/python -m pytest tests/faults/test_proxies.py

# A real nginx and a real HAProxy, from Debian's packages where they are not here yet.
proxies:
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v nginx >/dev/null && command -v haproxy >/dev/null || { \
		root=$$([ "$$(id -u)" = 0 ] || echo sudo); \
		$$root apt-get update --quiet && $$root apt-get install --yes --quiet --no-install-recommends nginx haproxy; }

# Every defence that docs/security.md lists is taken out of a copy of the tree, one by one: its test must fail there.
attacks: install
	$(BIN)/python -m tests.attacks.removing $(ONLY)

# What is shipped, by name, version and hash: CycloneDX, the same for the same lock, checked against its schema.
sbom: install
	$(BIN)/python deploy/sbom.py build/outbound.cdx.json

bench: install
	$(BIN)/python -m bench

# requirements.lock: the service with both extras. requirements-dev.lock: the tools of developers with it. deploy/image.lock: the
# part of requirements.lock that the container image needs. deploy/build.lock: what builds the wheel.
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url

lock:
	$(COMPILE) --upgrade --extra embedded --extra packs pyproject.toml -o requirements.lock
	$(COMPILE) --upgrade --extra embedded --extra packs --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) --constraint requirements.lock --extra packs pyproject.toml -o deploy/image.lock
	$(COMPILE) --constraint requirements-dev.lock deploy/build.in -o deploy/build.lock

clean:
	rm -rf .venv .outbound build
