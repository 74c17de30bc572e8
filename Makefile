# Two commands do all: `make run` and `make test`.
.PHONY: run test
run:
	cargo run --release -- serve --config config
test:
	cargo test
