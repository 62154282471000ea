# make demo             real programs in real sandboxes, with a table of what became of them
# make test             every test there is, in every language
# make bench            us, the raw kernel floor and the peers, measured in one run
# make install PREFIX=  the program sandboxset, header, shared and static library, pkg-config file
# make clean            removes what these made

TARGET_DIR := $(abspath $(or $(CARGO_TARGET_DIR),target))

.DEFAULT_GOAL := help
.PHONY: help clean prerequisites

help:
	@sed -n 's/^# make/make/p' Makefile

include $(sort $(wildcard make/*.mk))

# Installs what is missing when that is possible (as root, with apt); else names it.
prerequisites:
	@make/prerequisites
	@make/guest $(TARGET_DIR)/guest

clean:
	cargo clean
	rm -rf out
