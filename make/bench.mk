# `make bench` measures us, the raw kernel floor and the peers in one run; BENCH_ARGS="--quick linux." narrows it.
#
# The programs of the other languages are built first. One that cannot be built does not stop the run: its row then
# says so and the run fails at the end.

BENCH_TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))
BENCH_DIR := $(BENCH_TARGET_DIR)/bench
BENCH_C := ffi/benches/get_put.c

.PHONY: bench bench-c bench-python

bench: bench-c bench-python
	cargo run --release -p sandboxset-bench -- $(BENCH_ARGS)

bench-c:
	@mkdir -p $(BENCH_DIR)
	-cargo build --release -p sandboxset-ffi && \
	  $(CC) -std=c11 -O2 -Wall -Iinclude $(BENCH_C) -o $(BENCH_DIR)/c_get_put \
	    -L$(BENCH_TARGET_DIR)/release -lsandboxset -Wl,-rpath,$(BENCH_TARGET_DIR)/release -lpthread

# Installed anew each time: a stale package would be measured silently.
bench-python:
	@mkdir -p $(BENCH_DIR)
	-test -x $(BENCH_DIR)/venv/bin/python || python3 -m venv $(BENCH_DIR)/venv
	-CARGO_TARGET_DIR=$(BENCH_TARGET_DIR) $(BENCH_DIR)/venv/bin/pip install --quiet ./bindings/python
