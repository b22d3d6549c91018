package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bellboard/queue/jenkinssim"
)

func TestDoctor(t *testing.T) {
	h, environ := quietHouse(t)
	h.Jenkins.AddNode(jenkinssim.Node{Name: "other", Labels: "mac"}, true)
	h.Jenkins.Submit(jenkinssim.Job{Name: "app", Label: "mac", Duration: time.Hour})
	for end := time.Now().Add(5 * time.Second); h.Jenkins.Stats().Running == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the build does not begin")
		}
	}

	code, stdout, stderr := bellboard(environ, "doctor", "--probe")
	if code != 0 || stderr != "" || !strings.HasPrefix(stdout, "CHECK ") || !strings.Contains(stdout, "0 to do") || !strings.Contains(stdout, "The probe:\n  registered node bellboard-doctor-") {
		t.Errorf("bellboard doctor --probe = %d, saying %q; want 0\n%s", code, stderr, stdout)
	}

	if !strings.Contains(stdout, "--namespace bellboard") || strings.Contains(stdout, "events in") {
		t.Errorf("bellboard doctor outside of the cluster:\n%s", stdout)
	}
	_, stdout, _ = bellboard(environ, "doctor", "--namespace", "bellboard")
	for _, want := range []string{"leases in bellboard ", "events in bellboard ", "configmaps in bellboard "} {
		if !strings.Contains(stdout, "\n"+want) {
			t.Errorf("bellboard doctor --namespace bellboard has no row %q:\n%s", want, stdout)
		}
	}

	h.Jenkins.Deny("hudson.model.Computer.Create")
	code, stdout, _ = bellboard(environ, "doctor")
	lines := strings.Split(strings.TrimSpace(stdout), "\n")
	if last := lines[len(lines)-3]; code != exitChanges || !strings.HasPrefix(last, "Agent/Create ") || !strings.Contains(last, "grant Agent/Create to bellboard") {
		t.Errorf("bellboard doctor = %d, and ends with %q; want %d and Agent/Create", code, last, exitChanges)
	}

	code, stdout, _ = bellboard(environ, "doctor", "-o", "json")
	var report struct {
		Checks                   []struct{ Check, Result, What, Remedy string }
		OK, NotChecked, Findings int
	}
	if err := json.Unmarshal([]byte(stdout), &report); err != nil || code != exitChanges {
		t.Fatalf("bellboard doctor -o json = %d, %v\n%s", code, err, stdout)
	}
	last := report.Checks[len(report.Checks)-1]
	if report.Findings != 1 || report.OK+report.NotChecked+1 != len(report.Checks) || last.Check != "Agent/Create" || last.Result != "finding" || last.Remedy == "" {
		t.Errorf("bellboard doctor -o json: %d findings, the last check is %+v", report.Findings, last)
	}
}

func TestDoctorUsage(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		args    []string
		says    string
	}{
		{"no settings", nil, []string{"doctor"}, "BELLBOARD_JENKINS_URL"},
		{"an output that is none", nil, []string{"doctor", "-o", "yaml"}, "-o yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if code, _, stderr := bellboard(tt.environ, tt.args...); code != exitUsage || !strings.Contains(stderr, tt.says) {
				t.Errorf("bellboard %s = %d, saying %q; want %d and %q", strings.Join(tt.args, " "), code, stderr, exitUsage, tt.says)
			}
		})
	}
}
