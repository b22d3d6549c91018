# Common tasks by name. `make` alone lists them.

TOOL     = go tool -modfile=go.tools.mod
FUZZTIME ?= 30s
SEEDS    ?= 200
COUNT    ?= 10

.PHONY: help build test race lint fmt bench fuzz demo chaos mutate image release jenkins kube e2e e2e-install e2e-node speed seen pictures replay docs manifests ci

help: ## print this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the binary ./bellboard
	CGO_ENABLED=0 go build -trimpath -o bellboard ./cmd/bellboard

test: ## run every test that needs no cluster, without the race detector
	$(TOOL) gotestsum --format pkgname -- ./...

race: ## run the same tests with the race detector, as CI does
	$(TOOL) gotestsum --format pkgname -- -race ./...

lint: ## check imports between packages, and the rest of .golangci.yml (the first run builds the linter)
	$(TOOL) golangci-lint run ./...

fmt: ## format every Go file
	$(TOOL) golangci-lint fmt ./...

bench: ## run the benchmarks of the tick COUNT=10 times, summed up by benchstat
	go test -run '^$$' -bench . -benchmem -count $(COUNT) ./scaler/... ./queue/... | $(TOOL) benchstat /dev/stdin

fuzz: ## run every fuzz target for FUZZTIME=30s, from its corpus in testdata/fuzz and in Go's cache
	@grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | while IFS=: read -r file func; do \
		target=$${func#func }; \
		echo "fuzz $$target in $$(dirname $$file) for $(FUZZTIME)"; \
		go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) "$$(dirname $$file)" || exit 1; \
	done

demo: ## run the daemon with a simulated Jenkins and cluster in this terminal, for two minutes
	go run ./cmd/bellboard demo --for 2m

chaos: ## run SEEDS=200 simulated days in which everything breaks
	go test -count=1 -timeout 0 ./cmd/internal/house -house.seeds=$(SEEDS) -house.hours=2

mutate: ## change each rule that protects builds, and name the changes that no test notices; ONLY=scaler/table.go takes 20 minutes
	go run ./cmd/internal/mutate -only '$(ONLY)'

image: ## build the image without a registry, and run it (needs root and Debian)
	deploy/image/build $(BELLBOARD_NODE_IMAGE)

release: ## make all files of release VERSION=x.y.z in dist/: image for amd64 and arm64, chart, SBOM, sums, provenance (as make image)
	deploy/release '$(VERSION)' $(BELLBOARD_NODE_IMAGE)

jenkins: ## check the scripts, YAML and XML for Jenkins
	deploy/jenkins/check

kube: ## build a real Kubernetes control plane for make e2e, once (10 to 25 minutes; kept in the cache)
	deploy/kube/build

e2e: kube ## test the daemon, and two on one Lease, against a real API server (4 minutes)
	BELLBOARD_E2E=1 go test -count=1 -timeout 15m -parallel 24 -tags e2e ./cmd/internal/kube ./cmd/internal/e2e ./cmd/internal/chart
	BELLBOARD_E2E=1 go test -count=1 -timeout 5m -tags e2e -run '^TestOnARealAPIServer$$' ./cmd/internal/doctor

e2e-install: kube ## the part of make e2e that installs the chart with Helm, upgrades and uninstalls it while builds run (2 minutes)
	BELLBOARD_E2E=1 go test -count=1 -timeout 10m -tags e2e -run '^TestChart$$' -v ./cmd/internal/e2e

e2e-node: ## test README's install, and agents with Docker, on a real kubelet and containerd (needs root, Debian, cgroup v1; 5 minutes)
	deploy/kube/node/run

speed: kube ## measure 500 agents from zero, and among failures: the tables of docs/performance.md (8 minutes)
	BELLBOARD_E2E=1 BELLBOARD_SPEED=1 go test -count=1 -timeout 20m -tags e2e -run '^TestSpeed' -v ./cmd/internal/e2e

seen: ## ask every query of the dashboards and the alerts of a real Prometheus, and look at the page with a real browser (three minutes)
	deploy/grafana/seen
	metrics/web/seen

pictures: ## make the pictures of the page in docs, of a quiet demo and of one with --chaos (two to five minutes)
	metrics/web/seen pictures

replay: ## replay generated histories, and those in the folder HISTORIES if given, side by side (minutes)
	go run ./cmd/bellboard simulate $(if $(HISTORIES),$(wildcard $(HISTORIES)/*.csv.gz)) --generate all --least 100 --rivals --scenario warm,cold,slow

docs: ## write the settings into README.md's tables and the chart's schema
	go test -count=1 -run '^Test(README|ChartSchema)$$' ./cmd/internal/config -update

manifests: ## write deploy/install.yaml, which deploy/chart renders, and the chart's golden files
	go test -count=1 -run '^Test(Install|Golden)$$' ./cmd/internal/chart -update

ci: ## run what CI runs
	.ci/run
