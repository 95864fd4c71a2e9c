# Lakefeed's tasks. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

# All packages but parity, which starts Spark and has a target of its own.
PKGS  = $$(go list ./... | grep -v '^lakefeed/parity')
CACHE = $(shell . scripts/lib.sh && echo "$$CACHE")

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ARGS     ?=
FUZZTIME ?= 20s

# Programs without debug information, DuckDB's above all, link in a third of the time.
export GOFLAGS := $(GOFLAGS) '-ldflags=-s -w'

.DEFAULT_GOAL := help
.PHONY: help setup build test go-test long layers model race parity fuzz cover bench bench-tables microbench soak demo lint format shape clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

setup: ## install what the tests need: PostgreSQL 15 to 18 with its regression suite, Spark with Hudi, hudi-rs, DynamoDB Local, an S3 server
	@scripts/install-cxx.sh
	@scripts/install-postgres.sh all
	@scripts/install-regress.sh || [ -z "$$CI" ] # TestRegressLong is skipped without it
	@scripts/install-pooler.sh
	@scripts/install-interop.sh
	@scripts/install-dynamodb.sh
	@scripts/install-s3.sh

build: ## build ./lakefeed
	@scripts/install-cxx.sh
	go build -ldflags '-s -w -X main.version=$(VERSION)' -o lakefeed ./cmd/lakefeed

demo: ## a private PostgreSQL, a live workload and its lake; ARGS="--seconds 60" ends it
	@scripts/install-postgres.sh any
	@$(MAKE) --no-print-directory build
	./lakefeed demo $(ARGS)

test: setup layers go-test long model parity ## everything that CI runs but lint

layers: ## which package may import which
	go vet ./...
	go test -count=1 .

go-test: ## all Go tests but parity and the long ones
	@[ -d ../shared/golden/hudi-rs ] || echo "SKIPPED: what reads hudi-rs' sample tables, as ../shared/golden/hudi-rs is not there"
	go test -timeout 25m $(PKGS)

long: ## the long Go tests: kills, outages, power failures and load; few side by side, so that load decides nothing
	LAKEFEED_LONG=1 go test -count=1 -p 1 -parallel 2 -timeout 30m -run Long $$(grep -rl --include='*_test.go' '"lakefeed/internal/long"' . | xargs -n1 dirname | sort -u)

model: ## a table's life of 10,000 random operations and deaths, from two seeds
	LAKEFEED_MODEL=1 go test -count=1 -timeout 30m -v -run TestModelLong ./hudi

race: ## the same under the race detector
	go test -race -timeout 30m $(PKGS)

parity: setup ## Spark 1.2.0 and 0.15.0 and hudi-rs on our tables, pyarrow and DuckDB on our files
	LAKEFEED_PARITY=1 go test -count=1 -timeout 60m ./parity/...
	LAKEFEED_PARITY=1 go test -count=1 -timeout 30m -run TestSplicedFilesInOtherReaders ./hudi/basefile

fuzz: ## every fuzz target, FUZZTIME each
	@grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r f; do \
	  for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*).*/\1/p' "$$f"); do \
	    echo "$$target in $$(dirname "$$f")"; \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname "$$f")"; \
	  done; \
	done

cover: ## test coverage by package, and cover.out
	go test -timeout 20m -coverprofile cover.out $(PKGS)
	@go tool cover -func cover.out | tail -1

bench: ## measure beside PostgreSQL's own programs and Debezium, 20 minutes and 15 GB; ROWS=200000 tries
	@scripts/install-debezium.sh
	go run ./bench $(if $(ROWS),-rows $(ROWS),-results bench/results)

bench-tables: ## measure changing a table of 5 M rows, 10 minutes and 3 GB; ROWS=200000 tries
	go run ./bench/tables $(if $(ROWS),-rows $(ROWS))

microbench: ## the packages' benchmarks
	go test -run '^$$' -bench . -benchmem -timeout 60m $(PKGS)

soak: setup ## the long crash and load tests, hours; CONTRIBUTING.md says which takes how long
	@scripts/install-sysbench.sh
	LAKEFEED_SOAK=1 LAKEFEED_PARITY=1 go test -count=1 -timeout 6h -v -run Soak ./hudi/... ./e2e/... ./pipeline/... ./parity/...
	LAKEFEED_SOAK=1 go test -count=1 -timeout 6h -v -run "TestCrash|TestStory|TestImportD|TestFault|TestPower|TestTwoSole|TestSole|TestGoldenDamage" ./hudi

lint: ## golangci-lint, with the rules of .golangci.yml
	@scripts/install-lint.sh
	$(CACHE)/bin/golangci-lint run --allow-parallel-runners ./...

format: ## gofumpt and goimports over all files
	@scripts/install-lint.sh
	$(CACHE)/bin/golangci-lint fmt ./...

shape: ## lengths of functions and files, documented names
	@go run ./internal/shape .

clean: ## remove what building made; the cache stays
	rm -f lakefeed cover.out
	go clean
