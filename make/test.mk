# `make test` runs every test there is. What it needs it installs, or names.

TEST_VENV := $(TARGET_DIR)/test/venv
# The demo's and the tests' Python is the system's own where there is one: an ordinary user can run it too.
SYSTEM_PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)

TEST_LOGS := $(TARGET_DIR)/test/logs
TEST_RUST := cargo test --no-fail-fast --workspace --exclude sandboxset-python --exclude sandboxset-node --features sandboxset-keeper/binary

.PHONY: test test-style test-rust test-python test-node test-conformance test-faults test-ordinary-user

test: test-style test-rust test-python test-node test-conformance test-faults test-ordinary-user
	@echo "all tests passed"

test-style: prerequisites
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features sandboxset-keeper/binary -- -D warnings

# The Python extension is tested through Python.
# What it says is kept, so that the table of faults can say what became of which test.
# The cases of all languages wait until all languages are there.
test-rust: prerequisites
	@mkdir -p $(TEST_LOGS)
	bash -o pipefail -c '$(TEST_RUST) -- --skip every_case_holds_in_every_language 2>&1 \
	  | tee $(TEST_LOGS)/rust.log'

test-python: prerequisites
	@test -x $(TEST_VENV)/bin/python || $(SYSTEM_PYTHON) -m venv $(TEST_VENV)
	CARGO_TARGET_DIR=$(TARGET_DIR) $(TEST_VENV)/bin/pip install --quiet './bindings/python[test]'
	@mkdir -p $(TEST_LOGS)
	bash -o pipefail -c '$(TEST_VENV)/bin/python -m pytest -q -rA --show-capture=no bindings/python/tests \
	  bindings/python/examples 2>&1 | tee $(TEST_LOGS)/python.log | grep -v ^PASSED'

# The package is packed, installed into an empty project without any network, and tested there.
test-node: node-package
	make/node-test $(NODE_DIR)

# The same cases in every language. A language takes part by a line with its name, which makes it a failure if its
# agent is missing, and one that says how its agent is started.
CONFORMANCE_LANGUAGES := c
CONFORMANCE_AGENTS :=
CONFORMANCE_LANGUAGES += python python_asyncio
CONFORMANCE_PYTHON := $(TEST_VENV)/bin/python tests/conformance/agents/python/agent.py
CONFORMANCE_AGENTS += SANDBOXSET_AGENT_PYTHON="$(CONFORMANCE_PYTHON)"
CONFORMANCE_AGENTS += SANDBOXSET_AGENT_PYTHON_ASYNCIO="$(CONFORMANCE_PYTHON) --asyncio"

CONFORMANCE_LANGUAGES += node
CONFORMANCE_AGENTS += SANDBOXSET_AGENT_NODE="node $(NODE_DIR)/project/agent.mjs"

test-conformance: prerequisites test-python test-node
	SANDBOXSET_REQUIRE_AGENTS="$(CONFORMANCE_LANGUAGES)" $(CONFORMANCE_AGENTS) \
	  $(TEST_RUST) -q --test conformance -- --nocapture every_case

test-faults: test-rust test-python
	@cat $(TEST_LOGS)/rust.log $(TEST_LOGS)/python.log > $(TEST_LOGS)/all.log
	SANDBOXSET_TEST_LOG=$(TEST_LOGS)/all.log $(TEST_RUST) -q --test faults -- --nocapture table::every_row

# The Linux backend needs no root: as root, show it as somebody else.
test-ordinary-user: test-python
	make/as-ordinary-user $(TEST_VENV)
