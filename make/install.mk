# Installs the C library and the program sandboxset: `make install PREFIX=/usr/local`. DESTDIR is respected.

PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=
INSTALL ?= install
CARGO ?= cargo
# Only the tests install anything but release builds.
INSTALL_PROFILE ?= release

# The soname's number is set in ffi/build.rs.
SOVERSION := 0
INSTALL_ROOT := $(abspath $(dir $(lastword $(MAKEFILE_LIST)))/..)
INSTALL_FROM = $(or $(CARGO_TARGET_DIR),$(INSTALL_ROOT)/target)/$(if $(filter dev,$(INSTALL_PROFILE)),debug,$(INSTALL_PROFILE))

.PHONY: install
install:
	cd $(INSTALL_ROOT) && $(CARGO) build --profile $(INSTALL_PROFILE) -p sandboxset-ffi --lib
	cd $(INSTALL_ROOT) && $(CARGO) build --profile $(INSTALL_PROFILE) -p sandboxset-cli
	version=$$(cd $(INSTALL_ROOT) && $(CARGO) pkgid -p sandboxset-ffi | sed 's/.*[#@]//') && \
	real=libsandboxset.so.$$version && \
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(INCLUDEDIR) $(DESTDIR)$(LIBDIR)/pkgconfig && \
	$(INSTALL) -m 644 $(INSTALL_ROOT)/include/sandboxset.h $(DESTDIR)$(INCLUDEDIR)/sandboxset.h && \
	$(INSTALL) -m 755 $(INSTALL_FROM)/sandboxset $(DESTDIR)$(BINDIR)/sandboxset && \
	$(INSTALL) -m 755 $(INSTALL_FROM)/libsandboxset.so $(DESTDIR)$(LIBDIR)/$$real && \
	ln -sf $$real $(DESTDIR)$(LIBDIR)/libsandboxset.so.$(SOVERSION) && \
	ln -sf libsandboxset.so.$(SOVERSION) $(DESTDIR)$(LIBDIR)/libsandboxset.so && \
	$(INSTALL) -m 644 $(INSTALL_FROM)/libsandboxset.a $(DESTDIR)$(LIBDIR)/libsandboxset.a && \
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e "s|@VERSION@|$$version|" $(INSTALL_ROOT)/ffi/sandboxset.pc.in \
	    > $(DESTDIR)$(LIBDIR)/pkgconfig/sandboxset.pc
