# Makefile of kubecertd. Every target is a line or two; `make` lists them.

VERSION ?= $(or $(shell git describe --tags --match 'v[0-9]*' 2>/dev/null | sed 's/^v//; s/-\([0-9]*\)-g/+\1.g/'),0.0.0-dev)
ARCH    := $(shell go env GOARCH)
# The date of the commit: files in the packages carry it, so that equal source gives equal
# packages, and a clock that is before it is wrong.
export SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),0)
LDFLAGS := -s -w -X main.version=$(VERSION) -X main.built=$(SOURCE_DATE_EPOCH)
# Without gRPC's request traces, which nobody reads here, the linker can drop a quarter
# of the program, and the daemon's memory with it (grpc: trace_notrace.go).
GOBUILD := CGO_ENABLED=0 go build -trimpath -tags grpcnotrace -ldflags '$(LDFLAGS)'
RACE    := $(if $(shell command -v gcc),-race)
TOOL    := go tool -modfile=tools/go.mod

# The unit tests that -short makes shorter; house_test.go holds the list.
LONG := PowerCut|RecordCannotBeWritten|Year|TurnModel

export VERSION
# The version is stamped above; asking git as well fails in a checkout of another user.
export GOFLAGS := $(GOFLAGS) -buildvcs=false

began := $(shell date +%s)
nfpm   = ARCH=$(1) $(TOOL) nfpm package --packager $(2) --target dist/
phase  = @echo "== $(1), after $$(($$(date +%s) - $(began))) s"

.PHONY: help build test unit lint lab lab-down demo bench soak package clean deps deb FORCE
.NOTPARALLEL:
.DEFAULT_GOAL := help

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build bin/kubecertd
	$(GOBUILD) -o bin/kubecertd ./cmd/kubecertd

test: deps lint package ## Everything: lint, packages, unit tests under the race detector, and the stories on real control planes
	$(call phase,unit tests)
	go test -short $(RACE) -timeout 30m ./...
	go test -tags failpoints -run Failpoint ./renew
	$(call phase,the parts of the lab)
	go run ./test/lab parts
	$(call phase,what -short has left out)
	go test -timeout 30m -count=1 -run '$(LONG)' ./renew
	$(call phase,all tests with real runtimes and control planes)
	go test -timeout 60m -count=1 -p 1 -v ./runtime ./systemd ./test/...

unit: ## The quick inner loop: the tests that need no lab and no container runtime
	go test -short -timeout 30m ./...

lint: ## golangci-lint (with gofmt, go vet and the import directions) and shellcheck
	$(call phase,lint)
	$(TOOL) golangci-lint run
	$(TOOL) golangci-lint run --build-tags failpoints ./renew/... ./cmd/...
	$(TOOL) golangci-lint run --build-tags docs ./cmd/...
	shellcheck .ci/run tools/*.sh packaging/*.sh

lab: deps ## Bring a real one-node control plane up
	go run ./test/lab up

lab-down: ## Take it away again
	go run ./test/lab down

demo: deps deb ## Show the main job on a real control plane, step by step
	go run ./test/demo -deb 'dist/*_$(ARCH).deb'

bench: deps deb ## Measure against what kubecertd replaces; writes docs/benchmarks.md
	go run ./test/bench -deb 'dist/*_$(ARCH).deb' -write docs/benchmarks.md

soak: deps ## Unit tests twenty times under the race detector, every power cut, and the whole fault matrix
	go test -race -short -count=20 -timeout 180m ./...
	KUBECERTD_SOAK=1 go test -timeout 120m -count=1 -v -run "PowerCut|Year|TurnModel" ./renew ./test/crash
	KUBECERTD_SOAK=1 go test -timeout 240m -count=1 -p 1 -v ./test/faults ./test/e2e

package: bin/linux_amd64/kubecertd bin/linux_arm64/kubecertd bin/docs ## Make dist/*.deb and dist/*.rpm for amd64 and arm64
	$(call phase,packages)
	rm -rf dist && mkdir dist && for arch in amd64 arm64; do $(call nfpm,$$arch,deb) && $(call nfpm,$$arch,rpm) || exit; done

clean: ## Remove what was built here (the lab's cache stays)
	rm -rf bin dist

deps:
	@tools/install-deps.sh

deb: bin/linux_$(ARCH)/kubecertd bin/docs
	rm -rf dist && mkdir dist && $(call nfpm,$(ARCH),deb)

bin/linux_%/kubecertd: FORCE
	GOOS=linux GOARCH=$* $(GOBUILD) -o $@ ./cmd/kubecertd

# The manual pages and completions, made of the commands by a program that is not shipped.
bin/docs: FORCE
	rm -rf $@ && go run -tags docs ./cmd/kubecertd docs $@

FORCE:
