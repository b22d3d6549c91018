package doctor

import (
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"bellboard/cmd/internal/term"
	"bellboard/pool"
	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

func TestAllWell(t *testing.T) {
	s := newScene(t)
	r := s.run(t.Context(), false)
	if got, want := named(r, NotChecked), []string{checkDelete}; len(named(r, Finding)) > 0 || !slices.Equal(got, want) {
		t.Errorf("findings %q, not checked %q; want none, %q", named(r, Finding), got, want)
		show(t, r)
	}
	if st := s.jenkins.Stats(); st.Creates+st.Marks+st.Deletes > 0 || len(s.cluster.Pods()) > 1 || len(s.cluster.PVCs()) > 0 || len(s.cluster.Secrets()) != 2 {
		t.Errorf("an examination without a probe wrote: %+v, %d pods", st, len(s.cluster.Pods()))
	}
	before := s.jenkins.NodesList()
	r = s.run(t.Context(), true)
	if r.Count(OK) != len(r.Checks) || len(r.Did) == 0 {
		t.Errorf("with a probe: findings %q, not checked %q, did %q; want all well", named(r, Finding), named(r, NotChecked), r.Did)
		show(t, r)
	}
	if after := s.jenkins.NodesList(); !slices.Equal(before, after) || s.jenkins.Stats().Queued > 0 {
		t.Errorf("after a probe Jenkins has %+v, before %+v", after, before)
	}
}

// TestQuietJenkins checks a Jenkins without an agent of Bellboard's. Its pages show everything except what
// needs a deletion.
func TestQuietJenkins(t *testing.T) {
	s := newScene(t)
	s.jenkins.PersonDelete("web-e-1111111111")
	r := s.run(t.Context(), false)
	if got, want := named(r, NotChecked), []string{checkDelete}; len(named(r, Finding)) > 0 || !slices.Equal(got, want) {
		t.Errorf("findings %q, not checked %q; want none, %q", named(r, Finding), got, want)
		show(t, r)
	}
	for name, says := range map[string]string{
		checkWebSocket: "through Jenkins' web port", checkSwarm: "serves its client",
		checkDisconnect: "the form that marks a node", checkConnect: "monitor data",
	} {
		if i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == name }); !strings.Contains(r.Checks[i].What, says) {
			t.Errorf("%s is %+v, want %q", name, r.Checks[i], says)
		}
	}
	s.jenkins.Deny(idConnect, idDisconnect)
	if got := named(s.run(t.Context(), false), Finding); !slices.Equal(got, []string{checkConnect}) {
		t.Errorf("without Agent/Connect and Agent/Disconnect: findings %q", got)
	}
}

// TestConnectedAgents checks that a connected agent proves that its way to connect works, whatever the page
// answers.
func TestConnectedAgents(t *testing.T) {
	s := newScene(t)
	s.jenkins.AddNode(jenkinssim.Node{
		Name: "data-p-1111111111", Labels: "linux docker swarm persistent", Exclusive: true,
		Description: "Swarm agent from 127.0.0.1: " + scaler.Describe("bellboard", scaler.PoolID{Team: "data", Kind: scaler.Persistent}, false),
	}, true)
	s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		page := r.URL.Path == "/wsagents/" || r.URL.Path == "/swarm/swarm-client.jar"
		if page {
			w.WriteHeader(http.StatusNotFound)
		}
		return page
	})
	r := s.run(t.Context(), false)
	for _, name := range []string{checkWebSocket, checkSwarm} {
		i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == name })
		if c := r.Checks[i]; c.Result != OK || c.What != "agents of Bellboard's connected by it: 1" {
			t.Errorf("%s is %+v, want its one agent counted", name, c)
		}
	}
}

// TestEachPermission checks that each missing permission is named, and no other. Checks that depend on it are
// skipped.
func TestEachPermission(t *testing.T) {
	all := []string{checkRead, checkJobRead, checkCreate, checkConnect, checkDisconnect, checkDelete}
	for _, tt := range []struct {
		name   string
		denied []string
		plain  []string // named without a probe
		probed []string // named with one
	}{
		{"none", nil, nil, nil},
		{"Overall/Read", []string{"hudson.model.Hudson.Read"}, []string{checkRead}, []string{checkRead}},
		{"Job/Read", []string{"hudson.model.Item.Read"}, []string{checkJobRead}, []string{checkJobRead}},
		{"Agent/Create", []string{"hudson.model.Computer.Create"}, []string{checkCreate}, []string{checkCreate}},
		{"Agent/Connect, which Agent/Disconnect implies", []string{"hudson.model.Computer.Connect"}, nil, nil},
		{"Agent/Disconnect", []string{"hudson.model.Computer.Disconnect"}, nil, []string{checkDisconnect}},
		{"Agent/Connect and Agent/Disconnect", []string{"hudson.model.Computer.Connect", "hudson.model.Computer.Disconnect"}, []string{checkConnect}, []string{checkConnect, checkDisconnect}},
		{"Agent/Delete", []string{"hudson.model.Computer.Delete"}, nil, []string{checkDelete}},
		{"Agent/Configure, which nobody needs", []string{"hudson.model.Computer.Configure"}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			s.jenkins.Deny(tt.denied...)
			for _, probe := range []bool{false, true} {
				want := tt.plain
				if probe {
					want = tt.probed
				}
				r := s.run(t.Context(), probe)
				got := slices.DeleteFunc(named(r, Finding), func(n string) bool { return !slices.Contains(all, n) })
				if !slices.Equal(got, want) {
					t.Errorf("probe %t: permissions named %q, want %q", probe, got, want)
					show(t, r)
				}
			}
			// Without Agent/Delete the probe leaves one node, and says so.
			if left := s.probes(); len(left) > 0 && (len(left) > 1 || tt.name != "Agent/Delete") {
				t.Errorf("left behind: %q", left)
			}
		})
	}
}

func TestJobRead(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*scene)
		want   Result
		says   string
	}{
		{"a build runs that may not be seen", func(s *scene) { s.jenkins.Deny("hudson.model.Item.Read") }, Finding, "agents of Bellboard's run builds"},
		{"nothing is seen at all", func(s *scene) {
			s.jenkins.PersonDelete("web-e-1111111111")
			s.jenkins.Deny("hudson.model.Item.Read")
		}, Finding, "no job, no waiting and no running build"},
		{"only a job is seen", func(s *scene) {
			s.jenkins.PersonDelete("web-e-1111111111")
		}, OK, "granted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			tt.change(s)
			r := s.run(t.Context(), false)
			i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == checkJobRead })
			if c := r.Checks[i]; c.Result != tt.want || !strings.Contains(c.What, tt.says) {
				t.Errorf("Job/Read is %+v, want %s and %q", c, tt.want, tt.says)
			}
		})
	}
}

// TestEachFinding makes each finding once: only that check, with a text and a remedy.
func TestEachFinding(t *testing.T) {
	answer := func(path, header, value, body string) func(*scene) {
		return func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != path {
					return false
				}
				w.Header().Set("X-Jenkins", "2.568.1")
				w.Header().Set(header, value)
				_, _ = w.Write([]byte(body))
				return true
			})
		}
	}
	status := func(path string, code int) func(*scene) {
		return func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.HasPrefix(r.URL.Path, path) {
					w.WriteHeader(code)
					return true
				}
				return false
			})
		}
	}
	strip := func(headers ...string) func(*scene) {
		return func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				rec := httptest.NewRecorder()
				s.jenkins.ServeHTTP(rec, r)
				maps.Copy(w.Header(), rec.Header())
				for _, h := range headers {
					w.Header().Del(h)
				}
				w.WriteHeader(rec.Code)
				_, _ = w.Write(rec.Body.Bytes())
				return true
			})
		}
	}
	refuse := func(resource string, st func() *metav1.Status) func(*scene) {
		return func(s *scene) {
			s.cluster.Refuse(func(_ *http.Request, verb, what string) *metav1.Status {
				if verb == "create" && what == resource {
					return st()
				}
				return nil
			})
		}
	}
	forbidden := func(message string) *metav1.Status {
		return &metav1.Status{Status: "Failure", Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: message}
	}
	for _, tt := range []struct {
		name    string
		change  func(*scene)
		environ []string
		want    []string
		what    string
		remedy  string
	}{
		{"another Bellboard of the same name", func(s *scene) {
			_ = s.client.CoreV1().Pods("ci").Delete(t.Context(), "web-e-1111111111", metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
		}, nil, []string{checkInstance}, "web-e-1111111111", "BELLBOARD_INSTANCE"},
		{"token for everybody", func(s *scene) { _ = os.Chmod(s.token, 0o644) }, nil, []string{"token file"}, "every user", "chmod"},
		{"no token", func(s *scene) { _ = os.Remove(s.token) }, nil, []string{"token file"}, "does not exist", "API token"},
		{"wrong token", func(s *scene) { _ = os.WriteFile(s.token, []byte("stale"), 0o600) }, nil, []string{checkUser}, "401", "new API token"},
		{"a proxy that drops the token", func(s *scene) {
			s.intercept(func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Del("Authorization"); return false })
		}, nil, []string{checkUser}, "drops the token", "Authorization"},
		{"a password", func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPost {
					return false
				}
				w.WriteHeader(http.StatusForbidden)
				_, _ = w.Write([]byte("<html><title>Error 403 No valid crumb was included in the request</title></html>"))
				return true
			})
		}, nil, []string{checkCreate}, "crumb", "not a password"},
		{"a firewall that lets no write through", func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					w.WriteHeader(http.StatusForbidden)
					_, _ = w.Write([]byte("<html><title>403 Forbidden</title></html>"))
				}
				return r.Method == http.MethodPost
			})
		}, nil, []string{checkCreate}, "something between Bellboard and Jenkins", "firewall"},
		{"a firewall before the root", func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/api/json" {
					w.WriteHeader(http.StatusForbidden)
				}
				return r.URL.Path == "/api/json"
			})
		}, nil, []string{checkRead}, "something between Bellboard and Jenkins", "firewall"},
		{"a firewall before the queue", status("/queue/", http.StatusForbidden), nil, []string{checkReads}, "something between Bellboard and Jenkins", "firewall"},
		{"a firewall before all", status("/", http.StatusForbidden), nil, []string{checkJenkins}, "something between Bellboard and Jenkins", "firewall"},
		{"a proxy that takes the session away", strip("X-Jenkins-Session"), nil, []string{checkReads}, "X-Jenkins-Session", "pass the headers"},
		{"a proxy that takes the version away", strip("X-Jenkins", "X-Jenkins-Session"), nil, []string{checkJenkins}, "has no X-Jenkins", "pass the headers"},
		{"nobody there", nil, []string{"BELLBOARD_JENKINS_URL=http://127.0.0.1:1"}, []string{checkJenkins}, "refused", "start Jenkins"},
		{"no such host", nil, []string{"BELLBOARD_JENKINS_URL=http://jenkins.invalid"}, []string{checkJenkins}, "jenkins.invalid", "host"},
		{"starting", status("/", http.StatusServiceUnavailable), nil, []string{checkJenkins}, "starting", "wait"},
		{"another web site", status("/", http.StatusOK), nil, []string{checkJenkins}, "not Jenkins", "JENKINS_URL"},
		{"no authority", nil, []string{"BELLBOARD_JENKINS_CA_FILE=/nowhere"}, []string{checkJenkins}, "/nowhere", "JENKINS_CA_FILE"},
		{"old", func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path == "/login" {
					w.Header().Set("X-Jenkins", "2.204.6")
				}
				return r.URL.Path == "/login"
			})
		}, nil, []string{checkVersion}, "2.204.6", "2.340"},
		{"clock", answer("/login", "Date", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat), ""), nil, []string{checkClock}, "-1m", "NTP"},
		{"language of pages", func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Query().Get("tree") != "displayName" {
					return false
				}
				w.Header().Set("X-Jenkins", "2.568.1")
				_, _ = w.Write([]byte(`{"displayName":"Knoten"}`))
				return true
			})
		}, nil, []string{checkLanguage}, "Knoten", "Locale"},
		{"language of refusals", func(s *scene) {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method == http.MethodPost {
					w.Header().Set("X-Error", "/ ist ein unsicheres Zeichen")
					w.WriteHeader(http.StatusBadRequest)
				}
				return r.Method == http.MethodPost
			})
		}, nil, []string{checkLanguage}, "unsicheres", "Locale"},
		{"language of sentences", func(s *scene) {
			s.jenkins.Submit(jenkinssim.Job{Name: "p", Pipeline: true, Label: "windows", Duration: time.Hour})
			time.Sleep(100 * time.Millisecond) // until it waits
			s.intercept(func(_ http.ResponseWriter, r *http.Request) bool { r.Header.Set("Accept-Language", "de"); return false })
		}, nil, []string{checkLanguage}, "waiting build", "Locale"},
		{"quiet", func(s *scene) { s.jenkins.QuietDown(true) }, nil, []string{"quiet"}, "shut down", "cancel"},
		{"another Jenkins for agents", func(s *scene) {
			other := jenkinssim.New(jenkinssim.Config{Clock: clock.Real(), Seed: 9})
			s.t.Cleanup(other.Close)
			server := httptest.NewServer(other)
			s.t.Cleanup(server.Close)
			s.environ = append(s.environ, "BELLBOARD_AGENT_JENKINS_URL="+server.URL)
		}, nil, []string{checkAddress}, "another Jenkins", "AGENT_JENKINS_URL"},
		{"no WebSocket", func(s *scene) {
			s.jenkins.PersonDelete("web-e-1111111111")
			s.jenkins.AddNode(jenkinssim.Node{Name: "other", Labels: "mac"}, true)
			s.jenkins.Submit(jenkinssim.Job{Name: "q", Label: "mac", Duration: time.Hour})
			status("/wsagents/", http.StatusNotFound)(s)
		}, nil, []string{checkWebSocket}, "/wsagents/", "proxy"},
		{"no WebSocket, which agents that connect by TCP do not show", status("/wsagents/", http.StatusNotFound), []string{"BELLBOARD_TEAM_WEB_CONNECT=tcp"}, []string{checkWebSocket}, "/wsagents/", "proxy"},
		{"no TCP port", func(s *scene) {
			status("/tcpSlaveAgentListener/", http.StatusNotFound)(s)
			s.environ = append(s.environ, "BELLBOARD_TEAM_WEB_CONNECT=tcp")
		}, nil, []string{checkTCP}, "no port for agents", "instance-identity"},
		{"no keys for SSH, and Secrets that it does not need", func(s *scene) {
			s.denied = []string{"create secrets"}
			s.environ = append(s.environ, "BELLBOARD_TEAM_WEB_CONNECT=ssh", "BELLBOARD_SSH_SECRET=ssh-keys", "BELLBOARD_SSH_HOST_KEY=ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
		}, nil, []string{"Secret ssh-keys in ci"}, "host_key", "create secret"},
		{"no Swarm plugin", status("/swarm/", http.StatusNotFound), nil, []string{checkSwarm}, "no Swarm client", "install"},
		{"a static agent", func(s *scene) { s.jenkins.AddNode(jenkinssim.Node{Name: "old-linux", Labels: "linux"}, false) }, nil, []string{"labels of web"}, "old-linux", "other labels"},
		{"a label of the built-in node's", nil, []string{"BELLBOARD_TEAM_WEB_LABELS=built-in"}, []string{"labels of web"}, "also served by the built-in node", "other labels"},
		{"a node named like a label", func(s *scene) {
			s.jenkins.AddNode(jenkinssim.Node{Name: "docker", Labels: "big"}, false)
		}, nil, []string{"labels of data"}, "named like the label ‘docker’", "rename it"},
		{"a node named like the only label", func(s *scene) {
			s.jenkins.AddNode(jenkinssim.Node{Name: "linux"}, false)
		}, nil, []string{"labels of web", "labels of data"}, "named like the label ‘linux’", "rename it"},
		{"a node named like a kind", func(s *scene) {
			s.jenkins.AddNode(jenkinssim.Node{Name: "swarm"}, false)
		}, nil, []string{"labels of web", "labels of data"}, "named like the label ‘swarm’", "rename it"},
		{
			"a cloud", answer("/label/linux/api/json", "X-Jenkins-Session", "1", `{"nodes":[],"clouds":[{"_class":"org.csanchez.jenkins.plugins.kubernetes.KubernetesCloud"}]}`), nil,
			[]string{"labels of web"},
			"cloud KubernetesCloud", "cloud makes agents",
		},
		{"no hook", func(s *scene) { s.hook("") }, nil, []string{checkHook}, "bellboard-hook-bellboard", "bellboard-hook.groovy"},
		{"no hook, and a team that may have ephemeral agents", func(s *scene) { s.hook("") }, []string{"BELLBOARD_TEAM_WEB_MODE=auto"}, []string{checkHook}, "not installed", "init.groovy.d"},
		{"another instance's hook", func(s *scene) { s.hook("other") }, nil, []string{checkHook}, "another instance", "bellboard-hook.groovy"},
		{"no cluster", func(s *scene) { s.parts.KubeErr = os.ErrNotExist }, nil, []string{checkKube}, "not exist", "KUBECONFIG"},
		{"an API server that is away", func(s *scene) { s.parts.Kube.Host = "http://127.0.0.1:1" }, nil, []string{checkKube}, "refused", "API server"},
		{"an old cluster", func(s *scene) { s.version = "v1.28.3" }, nil, []string{checkKube}, "v1.28.3", "1.30"},
		{"a cluster's clock", func(s *scene) { s.date = []string{time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat)} }, nil, []string{checkKubeClock}, "-1m", "START_TIMEOUT"},
		{"may not delete pods", func(s *scene) { s.denied = []string{"delete pods", "watch pods"} }, nil, []string{"pods in ci"}, "watch, delete", "Role in ci"},
		{"may not create Secrets", func(s *scene) { s.denied = []string{"create secrets"} }, nil, []string{"secrets in ci"}, "create", "Role"},
		{"may not create claims", func(s *scene) { s.denied = []string{"create persistentvolumeclaims"} }, nil, []string{"persistentvolumeclaims in ci"}, "create", "Role"},
		{"may not hold the Lease", func(s *scene) { s.denied = []string{"update leases"} }, nil, []string{"leases in default"}, "update", "Role"},
		{"may not keep what it learns", func(s *scene) { s.denied = []string{"get configmaps"} }, nil, []string{"configmaps in default"}, "get", "configmaps bellboard-learnt-"},
		{"may not tell events", func(s *scene) { s.denied = []string{"patch events"} }, nil, []string{"events in default"}, "patch", "Role"},
		{
			"Pod Security", refuse("pods", func() *metav1.Status { return kubesim.Insecure("restricted:latest", "x") }), nil,
			[]string{"agents of web, ephemeral", "agents of data, persistent"},
			"violates PodSecurity", "enforce=",
		},
		{"a quota that wants a limit", refuse("pods", func() *metav1.Status {
			return forbidden("failed quota: limits: must specify limits.cpu for: agent")
		}), nil, []string{"agents of web, ephemeral", "agents of data, persistent"}, "failed quota", "a LimitRange in namespace"},
		{"a quota", refuse("persistentvolumeclaims", func() *metav1.Status { return kubesim.OverQuota("small", "x") }), nil, []string{"agents of data, persistent"}, "exceeded quota", "raise the quota"},
		{
			"a Secret is refused", refuse("secrets", func() *metav1.Status { return forbidden("denied by policy") }), nil,
			[]string{"agents of web, ephemeral"},
			"denied by policy", "BELLBOARD_TEAM_WEB_EPHEMERAL_NAMESPACE",
		},
		{
			"no priority class", refuse("pods", func() *metav1.Status { return forbidden("no PriorityClass with name high was found") }),
			[]string{"BELLBOARD_DEFAULT_PRIORITY_CLASS=high"},
			[]string{"agents of web, ephemeral", "agents of data, persistent"},
			"no PriorityClass", "priority class high",
		},
		{
			"no service account", refuse("pods", func() *metav1.Status {
				return forbidden(`error looking up service account ci/agent: serviceaccount "agent" not found`)
			}),
			[]string{"BELLBOARD_DEFAULT_SERVICE_ACCOUNT=agent"},
			[]string{"agents of web, ephemeral", "agents of data, persistent"},
			"service account", "create serviceaccount agent",
		},
		{"a service mesh", func(s *scene) {
			s.cluster.Inject(func(p *corev1.Pod) {
				proxy := corev1.Container{Name: "istio-proxy", Image: "proxy"}
				if p.Labels[pool.LabelTeam] == "web" {
					p.Spec.Containers = append(p.Spec.Containers, proxy)
					return
				}
				proxy.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
				p.Spec.InitContainers = append(p.Spec.InitContainers, proxy)
			})
		}, nil, []string{"agents of web, ephemeral"}, "istio-proxy beside the agent", `sidecar.istio.io/inject: "false" in web's POD_TEMPLATE_FILE`},
		{"no Swarm password", nil, []string{"BELLBOARD_SWARM_PASSWORD_SECRET=nobody"}, []string{"Secret nobody in ci"}, "does not exist", "create secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			if tt.change != nil {
				tt.change(s)
			}
			r := s.run(t.Context(), false, tt.environ...)
			if got := named(r, Finding); !slices.Equal(got, tt.want) {
				t.Fatalf("findings %q, want %q\n%+v", got, tt.want, r.Checks)
			}
			last := r.Checks[slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == tt.want[len(tt.want)-1] })]
			if !strings.Contains(last.What, tt.what) || !strings.Contains(last.Remedy, tt.remedy) {
				t.Errorf("it says %+v, want %q and the remedy %q", last, tt.what, tt.remedy)
			}
		})
	}
}

// TestEveryCheckIsThere checks that no check is left out. If Jenkins or the cluster cannot be read, every
// check is there, with its result or with the reason why there is none.
func TestEveryCheckIsThere(t *testing.T) {
	names := func(r Report) (names []string) {
		for _, c := range r.Checks {
			names = append(names, c.Name)
		}
		slices.Sort(names)
		return names
	}
	want := names(newScene(t).run(t.Context(), false))
	for name, change := range map[string]func(*scene){
		"Jenkins is away":      func(s *scene) { s.environ[0] = "BELLBOARD_JENKINS_URL=http://127.0.0.1:1" },
		"a wrong token":        func(s *scene) { s.environ[1] = "BELLBOARD_JENKINS_USER=nobody" },
		"without Overall/Read": func(s *scene) { s.jenkins.Deny("hudson.model.Hudson.Read") },
		"the cluster is away":  func(s *scene) { s.parts.KubeErr = os.ErrNotExist },
	} {
		s := newScene(t)
		change(s)
		if got := names(s.run(t.Context(), false)); !slices.Equal(got, want) {
			t.Errorf("%s: the checks are %q, want %q", name, got, want)
		}
		if got := names(s.run(t.Context(), true)); !slices.ContainsFunc(got, func(n string) bool { return strings.HasPrefix(n, checkProbe) }) {
			t.Errorf("%s: the probe is not among the checks: %q", name, got)
		}
	}
}

// TestNotChecked checks that what could not be asked is "not checked", never "ok".
func TestNotChecked(t *testing.T) {
	s := newScene(t)
	s.denied, s.date = []string{"create pods", "get secrets"}, []string{}
	s.jenkins.PersonDelete("web-e-1111111111")
	s.addNode("data-p-1111111111", scaler.PoolID{Team: "data", Kind: scaler.Persistent}, true)
	s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/wsagents") || strings.HasPrefix(r.URL.Path, "/swarm") {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		w.Header()["Date"] = nil
		return false
	})
	r := s.run(t.Context(), false)
	for _, name := range []string{checkClock, checkKubeClock, checkSwarm, "agents of web, ephemeral", "agents of data, persistent", "Secret swarm in ci", "Secret registry in ci"} {
		if !slices.Contains(named(r, NotChecked), name) {
			t.Errorf("%s is not among what was not checked: %q", name, named(r, NotChecked))
		}
	}
}

func TestVersions(t *testing.T) {
	for _, tt := range []struct {
		version      string
		older, known bool
	}{
		{"2.568.1", false, true},
		{"2.318", false, true},
		{"2.317.9", true, true},
		{"2.541-SNAPSHOT", false, true},
		{"1.651", true, true},
		{"3.1", false, true},
		{"2", true, true},
		{"", false, false},
		{"unknown", false, false},
	} {
		if older, known := olderThan(tt.version, "2.318"); older != tt.older || known != tt.known {
			t.Errorf("olderThan(%q) = %t, %t; want %t, %t", tt.version, older, known, tt.older, tt.known)
		}
	}
}

// TestOnlyWhatTeamsNeed checks that a way to connect that no team uses may be missing.
func TestOnlyWhatTeamsNeed(t *testing.T) {
	s := newScene(t)
	s.jenkins.PersonDelete("web-e-1111111111") // that it is connected would say more than a page
	s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		missing := r.URL.Path == "/wsagents/" || r.URL.Path == "/swarm/swarm-client.jar"
		if missing {
			w.WriteHeader(http.StatusNotFound)
		}
		return missing
	})
	s.hook("")
	r := s.run(t.Context(), false, "BELLBOARD_DEFAULT_CONNECT=tcp", "BELLBOARD_TEAM_WEB_MODE=persistent")
	if i := slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == checkHook }); r.Checks[i].Result != OK {
		t.Errorf("%+v", r.Checks[i])
	}
	for _, name := range []string{checkWebSocket, checkTCP, checkSwarm} {
		c := r.Checks[slices.IndexFunc(r.Checks, func(c Check) bool { return c.Name == name })]
		if c.Result != OK || strings.Contains(c.What, "no team needs it") == (name == checkTCP) {
			t.Errorf("%+v", c)
		}
	}
}

// TestWarnings checks that a danger that the settings allow is shown each time, and is no finding.
func TestWarnings(t *testing.T) {
	s := newScene(t)
	r := s.run(t.Context(), false, "BELLBOARD_TEAM_WEB_EPHEMERAL_DOCKER=host", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true")
	if got := named(r, Warning); !slices.Equal(got, []string{"settings"}) || len(named(r, Finding)) > 0 {
		t.Errorf("warnings %q, findings %q", got, named(r, Finding))
		show(t, r)
	}
	var b strings.Builder
	if err := r.WriteTable(&term.Screen{Writer: &b}); err != nil || !strings.Contains(b.String(), "can take over its Kubernetes node") || !strings.Contains(b.String(), "1 to remember, 0 to do") {
		t.Errorf("WriteTable: %v\n%s", err, b.String())
	}
}

func TestRemedies(t *testing.T) {
	for _, tt := range []struct {
		spec  pool.Spec
		words string
		want  string
	}{
		{pool.Spec{Docker: pool.DockerNone}, `violates PodSecurity "restricted:latest"`, "enforce=baseline"},
		{pool.Spec{Docker: pool.DockerSysbox}, `violates PodSecurity "restricted:latest"`, "BELLBOARD_TEAM_WEB_SHOP_PERSISTENT_DOCKER=sysbox needs the standard baseline: kubectl label namespace ci"},
		{pool.Spec{Docker: pool.DockerHost}, `violates PodSecurity "baseline:latest"`, "enforce=privileged, or set BELLBOARD_TEAM_WEB_SHOP_PERSISTENT_NAMESPACE"},
		{pool.Spec{Transport: pool.SSH}, `violates PodSecurity "restricted:latest"`, "BELLBOARD_TEAM_WEB_SHOP_PERSISTENT_CONNECT=ssh needs the standard baseline"},
		{pool.Spec{Docker: pool.DockerUserns}, `pod rejected: RuntimeClass "runc-cgroup-writable" not found`, "BELLBOARD_TEAM_WEB_SHOP_PERSISTENT_DOCKER=userns needs that runtime"},
	} {
		tt.spec.PoolID, tt.spec.Namespace = scaler.PoolID{Team: "web-shop", Kind: scaler.Persistent}, "ci"
		if got := remedyFor(&tt.spec, errors.New(tt.words)); !strings.Contains(got, tt.want) {
			t.Errorf("remedy for %s, Docker %s: %q does not say %q", tt.words, tt.spec.Docker, got, tt.want)
		}
	}
}

// TestNoOwnNamespace checks that Bellboard's own namespace is not checked if it is not known, and that no
// other namespace is checked instead. If the namespace is known, the Lease is checked, too.
func TestNoOwnNamespace(t *testing.T) {
	s := newScene(t)
	checks := func() (own []Check) {
		for _, c := range s.run(t.Context(), false).Checks {
			if strings.HasPrefix(c.Name, "leases ") || strings.HasPrefix(c.Name, "events ") || strings.HasPrefix(c.Name, "configmaps ") || c.Name == checkOwn {
				own = append(own, c)
			}
		}
		return own
	}
	s.parts.Lead, s.parts.NoOwnNamespace = false, true
	if got := checks(); len(got) != 1 || got[0].Name != checkOwn || got[0].Result != NotChecked || !strings.Contains(got[0].Remedy, "--namespace bellboard") {
		t.Errorf("outside of the cluster: %+v, want only that the namespace is not known", got)
	}
	s.cluster.Cut(time.Hour)
	if got := checks(); len(got) != 1 || got[0].Name != checkOwn {
		t.Errorf("outside of the cluster, which does not answer: %+v, want the same", got)
	}
	s.cluster.Cut(0)
	s.parts.Lead, s.parts.NoOwnNamespace = true, false
	if got := checks(); len(got) != 3 || got[0].Name != "leases in default" || got[1].Name != "events in default" || got[2].Name != "configmaps in default" {
		t.Errorf("in a namespace: %+v, want its Lease, its events and its ConfigMap", got)
	}
}
