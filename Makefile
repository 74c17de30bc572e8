# Two commands do all: `make run` and `make test`.
CARGO ?= cargo
.PHONY: run test tools lint unit bench fuzz soak

# Builds, starts with the shipped config and the embedded store, prints where it listens.
run:
	$(CARGO) run --release --bin hulplijn -- serve --config config

# Installs what the tests need and runs everything but the long fuzz and soak runs.
test: tools lint unit
	@echo "skipped: long fuzz and soak runs (make fuzz, make soak), timings (make bench)"

# Real programs that the interop tests call; installed only when one is missing.
tools:
	@sh tests/interop/install.sh

lint:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --all-targets --locked -- -D warnings

unit:
	$(CARGO) test --locked

bench:
	$(CARGO) bench
