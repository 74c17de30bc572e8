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

# About five minutes, on a quiet machine with two cores or more.
bench:
	$(CARGO) bench --locked --bench calls --bench registrations --bench bridge --bench relay --bench coded --bench srtp --bench announce

# Each target for FUZZ_SECONDS, from the messages of the torture set.
FUZZ_SECONDS ?= 600
FUZZ_TARGETS = datagram stream uri header name_addr sdp digest media websocket rtp rtcp dtmf stun decode endpoint differential
fuzz:
	command -v cargo-fuzz >/dev/null || $(CARGO) install --locked cargo-fuzz
	mkdir -p fuzz/corpus/datagram fuzz/corpus/stream fuzz/corpus/endpoint fuzz/corpus/differential
	for folder in datagram stream endpoint differential; do cp tests/torture/rfc*/*.dat fuzz/corpus/$$folder/; done
	set -e; for target in $(FUZZ_TARGETS); do \
		cargo fuzz run --sanitizer none $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=8192 -timeout=10 -rss_limit_mb=2048; \
	done
