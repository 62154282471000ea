# `make demo` runs the code-running service in real sandboxes; DEMO_ARGS="--only sudoku --rounds 1" narrows it.

DEMO_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
DEMO_VENV := $(DEMO_TARGET_DIR)/demo/venv
DEMO_DIR := bindings/python/examples/code_service

.PHONY: demo

# Installed anew each time: a stale package would be demonstrated silently.
demo:
	@test -x $(DEMO_VENV)/bin/python || python3 -m venv $(DEMO_VENV)
	CARGO_TARGET_DIR=$(DEMO_TARGET_DIR) $(DEMO_VENV)/bin/pip install --quiet ./bindings/python
	$(DEMO_VENV)/bin/python $(DEMO_DIR) $(DEMO_ARGS)
