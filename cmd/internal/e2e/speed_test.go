//go:build e2e

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// speedAgents is the number of builds that come at once.
const speedAgents = 500

// TestSpeed measures the real binary with simulated Kubernetes nodes: from no agent to 500, and back. It
// prints the table of docs/performance.md.
func TestSpeed(t *testing.T) {
	if os.Getenv("BELLBOARD_SPEED") != "1" {
		t.Skip("measures for some minutes, and wants a quiet machine: set BELLBOARD_SPEED=1")
	}
	rows := []string{
		"| client QPS | burst to last pod created | to last build finished | to all cleared away | calls per agent | Bellboard CPU | max RSS | API server CPU | max RSS |",
		"|--:|--:|--:|--:|---|--:|--:|--:|--:|",
	}
	for _, qps := range []int{50, 200} {
		rows = append(rows, speed(t, qps))
	}
	t.Logf("%d agents from zero, over three teams, on %d cores\n\n%s\n", speedAgents, runtime.NumCPU(), strings.Join(rows, "\n"))
}

func speed(t *testing.T, qps int) string {
	t.Helper()
	h := newHome(t, fmt.Sprintf("speed-%d", qps), rights(t), append(slices.Clone(oneBuildTeams),
		"BELLBOARD_POLL_INTERVAL=1s", fmt.Sprintf("BELLBOARD_KUBE_QPS=%d", qps), fmt.Sprintf("BELLBOARD_KUBE_BURST=%d", 2*qps),
		"BELLBOARD_LOG_LEVEL=warn")...)
	p := h.spawn(h.straight())
	h.await("the berths are there", func() bool { return h.jenkins.Stats().Nodes >= 6 })

	own, server := p.cmd.Process.Pid, h.plane.Pids()["kube-apiserver"]
	forgetPeak(t, own)
	forgetPeak(t, server)
	ownCPU, serverCPU := cpu(t, own), cpu(t, server)
	began := time.Now()
	h.submit(speedAgents, "linux", "docker", "android")
	h.await("all pods are created", func() bool { ever, _, _ := h.count(); return ever >= speedAgents })
	created := time.Since(began)
	h.await("all builds finish", h.finished)
	finished := time.Since(began)
	// The test counts what its own watch has, and does not load the API server.
	h.await("pods and nodes are cleared away", func() bool { _, alive, _ := h.count(); return alive == 0 && h.jenkins.Stats().Nodes <= 6 })
	cleared := time.Since(began)
	ownCPU, serverCPU = cpu(t, own)-ownCPU, cpu(t, server)-serverCPU
	h.ends(speedAgents)
	if ever, _, _ := h.count(); ever != speedAgents {
		t.Errorf("%d pods for %d builds", ever, speedAgents)
	}
	return fmt.Sprintf("| %d | %.1f s | %.0f s | %.0f s | %s | %.1f s | %d MiB | %.1f s | %d MiB |", qps, created.Seconds(), finished.Seconds(), cleared.Seconds(),
		calls(t, p.listen), ownCPU.Seconds(), peak(t, own), serverCPU.Seconds(), peak(t, server))
}

var callLine = regexp.MustCompile(`^bellboard_kube_requests_total\{code="\d+",resource="(\w+)",verb="(\w+)"\} (\d+)`)

// calls returns Bellboard's requests to Kubernetes for each agent, from Bellboard's own metrics.
func calls(t *testing.T, address string) string {
	t.Helper()
	resp, err := http.Get("http://" + address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	count := map[string]int{}
	all := 0.0
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if m := callLine.FindStringSubmatch(lines.Text()); m != nil && m[1] != "leases" && m[1] != "events" && m[1] != "configmaps" { // those are for no agent
			n, _ := strconv.Atoi(m[3])
			count[m[2]+" "+m[1]] += n
			all += float64(n)
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	if all /= speedAgents; all == 0 || all > costLiving {
		t.Errorf("%.2f calls per agent, want at most %d: %v", all, costLiving, count)
	}
	parts := []string{fmt.Sprintf("**%.2f**", all)}
	for _, what := range slices.Sorted(maps.Keys(count)) {
		parts = append(parts, fmt.Sprintf("%s %.2f", what, float64(count[what])/speedAgents))
	}
	return strings.Join(parts, ", ")
}

// cpu returns the CPU time of a process so far.
func cpu(t *testing.T, pid int) time.Duration {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// After the name in brackets, user and system time are the 12th and 13th fields.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	const hertz = 100 // of these counters, on every Linux
	return time.Duration(user+system) * time.Second / hertz
}

// forgetPeak resets the peak of a process' memory.
func forgetPeak(t *testing.T, pid int) {
	t.Helper()
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0); err != nil {
		t.Logf("the peak of memory is that of the process' whole life: %v", err)
	}
}

// peak returns the peak of a process' memory, in MiB.
func peak(t *testing.T, pid int) int {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
			kib, _ := strconv.Atoi(f[1])
			return kib / 1024
		}
	}
	return 0
}
