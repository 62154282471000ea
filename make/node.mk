# `make node-package` builds the npm package for this platform and packs it, ready for `npm install TARBALL`.

NODE_DIR := $(TARGET_DIR)/node

.PHONY: node-package
node-package: prerequisites
	cargo build --release -p sandboxset-node
	make/node-package $(TARGET_DIR)/release/libsandboxset_node.so $(NODE_DIR)
