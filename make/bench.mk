# `make bench` measures us, the raw kernel floor and the peers in one run; BENCH_ARGS="--quick linux." narrows it.
#
# The programs of the other languages are built first. One that cannot be built does not stop the run: its row then
# says so and the run fails at the end.

BENCH_DIR := $(TARGET_DIR)/bench

.PHONY: bench bench-c bench-python bench-node

bench: bench-c bench-python bench-node
	cargo run --release -p sandboxset-bench -- $(BENCH_ARGS)

# What an earlier run left is removed first: stale programs would be measured silently.
bench-c: prerequisites
	@mkdir -p $(BENCH_DIR)
	@rm -f $(BENCH_DIR)/c_get_put
	-cargo build --release -p sandboxset-ffi && \
	  $(CC) -std=c11 -O2 -Wall -Iinclude ffi/benches/get_put.c $(TARGET_DIR)/release/libsandboxset.a \
	    -lpthread -ldl -lm -o $(BENCH_DIR)/c_get_put

bench-python: prerequisites
	@mkdir -p $(BENCH_DIR)
	@rm -rf $(BENCH_DIR)/venv
	-$(or $(firstword $(wildcard /usr/bin/python3)),python3) -m venv $(BENCH_DIR)/venv && \
	  CARGO_TARGET_DIR=$(TARGET_DIR) $(BENCH_DIR)/venv/bin/pip install --quiet ./bindings/python
	@$(BENCH_DIR)/venv/bin/pip install --quiet numpy || echo "SKIPPED: numpy cannot be installed"
	@$(BENCH_DIR)/venv/bin/pip install --quiet 'sqlalchemy[asyncio]' || echo "SKIPPED: sqlalchemy cannot be installed"

bench-node: prerequisites
	@rm -rf $(BENCH_DIR)/node
	@mkdir -p $(BENCH_DIR)/node
	-$(MAKE) --no-print-directory node-package && cp bindings/node/benches/* $(BENCH_DIR)/node && \
	  cd $(BENCH_DIR)/node && npm install --silent --no-save $(NODE_DIR)/sandboxset-*.tgz generic-pool@3.9.0 tarn@3.1.2
