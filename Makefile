# Stead's front door: `make` lists what there is.
# SQL is checked against server/.sqlx here, whatever database the caller's environment names.
export SQLX_OFFLINE := true
unexport DATABASE_URL
target := $(or $(CARGO_TARGET_DIR),target)

# run and test build the programs by the same words: other words choose other features, and everything is compiled twice.
programs := cargo build --workspace --bins

.DEFAULT_GOAL := help
.PHONY: help run test clients lint fmt sqlx released mutants soak bench

help: ## list the targets
	@echo "Stead: make TARGET"
	@sed -nE 's/^([a-z][a-z-]*):.*## (.*)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 12

run: ## build and serve with a private PostgreSQL and Redis and sample data; ARGS="--reset" and the like reach `stead-server dev`
	@.ci/prepare rust postgres redis
	$(programs)
	@exec "$(target)/debug/stead-server" dev $(ARGS)

test: ## build both programs and prove everything that stands, on real PostgreSQL and Redis; then look for secrets in what is left
	@.ci/prepare rust postgres redis python
	$(programs) && tests/evidence cargo test --workspace

clients: ## generate the clients of other languages and prove them against the service
	@.ci/prepare rust postgres redis python
	$(programs) && cargo test --workspace --test promises -- clients::

lint: ## formatting, clippy, contract, SQL data, deploy files; says loudly what it could not run
	@.ci/prepare rust postgres
	@.ci/lint

fmt: ## format Rust and protos
	cargo fmt --all
	@.ci/buf format --write --path proto/stead

sqlx: ## renew server/.sqlx after a change to SQL or to a migration
	@.ci/prepare rust postgres
	@server/sqlx.sh

released: ## at a release: keep the contract as it is now, for lint to hold later ones against
	@.ci/buf build --exclude-source-info --path proto/stead -o proto/released.binpb

mutants: ## take one guard out at a time and want the named promise to fail; NAMES="cost_shown ..." runs some
	@.ci/prepare rust postgres redis
	@tests/mutants/run $(NAMES)

soak: ## show one guarantee at large N, in about 15 minutes: G=4; without G it lists them, STEAD_SEED repeats a run
	@.ci/prepare rust postgres redis
	@$(if $(G),$(programs))
	@tests/soak $(G)

bench: ## measure one workload at full size and print one table: W=5; without W it lists them, STEAD_CATALOGUE names real texts
	@.ci/prepare rust postgres redis
	@bench/run $(W)
