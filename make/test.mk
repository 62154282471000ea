# `make test` runs every test there is. What it needs it installs, or names.

TEST_VENV := $(TARGET_DIR)/test/venv
# The demo's and the tests' Python is the system's own where there is one: an ordinary user can run it too.
SYSTEM_PYTHON := $(firstword $(wildcard /usr/bin/python3) python3)

.PHONY: test test-style test-rust test-python test-ordinary-user

test: test-style test-rust test-python test-ordinary-user
	@echo "all tests passed"

test-style: prerequisites
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --features sandboxset-keeper/binary -- -D warnings

# The Python extension is tested through Python.
test-rust: prerequisites
	cargo test --workspace --exclude sandboxset-python --features sandboxset-keeper/binary

test-python: prerequisites
	@test -x $(TEST_VENV)/bin/python || $(SYSTEM_PYTHON) -m venv $(TEST_VENV)
	CARGO_TARGET_DIR=$(TARGET_DIR) $(TEST_VENV)/bin/pip install --quiet './bindings/python[test]'
	$(TEST_VENV)/bin/python -m pytest -q -rs bindings/python/tests bindings/python/examples

# The Linux backend needs no root: as root, show it as somebody else.
test-ordinary-user: test-python
	make/as-ordinary-user $(TEST_VENV)
