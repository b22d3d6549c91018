package doctor

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/term"
	"bellboard/pool"
	"bellboard/pool/kubesim"
	"bellboard/queue/jenkinssim"
	"bellboard/scaler"
	"bellboard/scaler/clock"
)

// quick is the wall clock, with waits of a fiftieth.
type quick struct {
	clock.Clock
	ahead time.Duration
}

func (q quick) Now() time.Time { return q.Clock.Now().Add(q.ahead) }

func (q quick) AfterFunc(d time.Duration, f func()) func() bool { return q.Clock.AfterFunc(d/50, f) }

// scene has a Jenkins and a cluster on loopback ports, as a user has them. One agent of Bellboard's runs a
// build.
type scene struct {
	t       *testing.T
	jenkins *jenkinssim.Jenkins
	cluster *kubesim.Cluster
	client  kubernetes.Interface
	parts   Parts
	environ []string
	address string
	token   string

	// before gets every request to Jenkins, and answers instead of Jenkins if it returns true.
	before atomic.Value // func(http.ResponseWriter, *http.Request) bool
	// denied has the accesses that RBAC rejects: "verb resource".
	denied []string
	// version is another version of the cluster, date another Date of its answers.
	version string
	date    []string
}

const doctorsToken = "11aabbccddeeff00112233445566778899"

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t}
	s.before.Store(func(http.ResponseWriter, *http.Request) bool { return false })
	s.jenkins = jenkinssim.New(jenkinssim.Config{Clock: clock.Real(), Token: doctorsToken, Hook: "bellboard", AgentPort: 50000})
	t.Cleanup(s.jenkins.Close)
	server := httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(server.Close)
	s.address = server.URL
	s.cluster = kubesim.New(kubesim.Config{Clock: clock.Real()})
	t.Cleanup(s.cluster.Close)
	api := httptest.NewServer(http.HandlerFunc(s.serveCluster))
	t.Cleanup(api.Close)
	client, err := kubernetes.NewForConfig(s.cluster.RESTConfig())
	if err != nil {
		t.Fatal(err)
	}
	s.client = client
	for _, name := range []string{"swarm", "registry"} {
		_, err = client.CoreV1().Secrets("ci").Create(t.Context(), &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"password": "sesame"},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
	}
	s.token = filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(s.token, []byte(doctorsToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.environ = []string{
		"BELLBOARD_JENKINS_URL=" + s.address, "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=" + s.token,
		"BELLBOARD_NAMESPACE=ci", "BELLBOARD_SWARM_USER=agents", "BELLBOARD_SWARM_PASSWORD_SECRET=swarm",
		"BELLBOARD_TEAMS=web,data", "BELLBOARD_DEFAULT_IMAGE_PULL_SECRET=registry",
		"BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral",
		"BELLBOARD_TEAM_DATA_LABELS=linux docker", "BELLBOARD_TEAM_DATA_MODE=persistent",
	}
	s.parts = Parts{Clock: quick{Clock: clock.Real()}, Kube: &rest.Config{Host: api.URL}, Lead: true, Patience: time.Minute}
	s.addNode("web-e-1111111111", scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, true)
	s.jenkins.Submit(jenkinssim.Job{Name: "app", Label: "linux", Duration: time.Hour})
	for end := time.Now().Add(5 * time.Second); s.jenkins.Stats().Running == 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the build does not begin")
		}
	}
	return s
}

// addNode registers an agent of Bellboard's. A connected agent has a pod.
func (s *scene) addNode(name string, id scaler.PoolID, connect bool) {
	s.t.Helper()
	s.jenkins.AddNode(jenkinssim.Node{Name: name, Description: scaler.Describe("bellboard", id, false), Labels: "linux " + string(id.Kind), Exclusive: true}, connect)
	if !connect {
		return
	}
	if _, err := s.client.CoreV1().Pods("ci").Create(s.t.Context(), agentPod(name), metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

// hook replaces Jenkins by one without an agent, with the hook of that instance; "" is no hook.
func (s *scene) hook(instance string) {
	s.jenkins = jenkinssim.New(jenkinssim.Config{Clock: clock.Real(), Token: doctorsToken, Hook: instance, AgentPort: 50000})
	s.t.Cleanup(s.jenkins.Close)
}

// agentPod returns an agent's pod, with the fields that doctor reads.
func agentPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{pool.LabelInstance: "bellboard"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "agent", Image: "agent"}}},
	}
}

// serve is Jenkins, behind the function before.
func (s *scene) serve(w http.ResponseWriter, r *http.Request) {
	if !s.before.Load().(func(http.ResponseWriter, *http.Request) bool)(w, r) {
		s.jenkins.ServeHTTP(w, r)
	}
}

// intercept makes f answer instead of Jenkins if f returns true, one request at a time.
func (s *scene) intercept(f func(http.ResponseWriter, *http.Request) bool) {
	var one sync.Mutex
	s.before.Store(func(w http.ResponseWriter, r *http.Request) bool {
		one.Lock()
		defer one.Unlock()
		return f(w, r)
	})
}

func (s *scene) serveCluster(w http.ResponseWriter, r *http.Request) {
	if s.date != nil {
		w.Header()["Date"] = s.date
	}
	switch {
	case s.version != "" && r.URL.Path == "/version":
		_, _ = w.Write([]byte(`{"gitVersion":"` + s.version + `"}`))
	case strings.HasSuffix(r.URL.Path, "/selfsubjectaccessreviews"):
		rec := httptest.NewRecorder()
		s.cluster.ServeHTTP(rec, r)
		var review authorizationv1.SelfSubjectAccessReview
		if err := json.Unmarshal(rec.Body.Bytes(), &review); err != nil {
			s.t.Error(err)
		}
		a := review.Spec.ResourceAttributes
		review.Status.Allowed = !slices.Contains(s.denied, a.Verb+" "+a.Resource)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(rec.Code)
		_ = json.NewEncoder(w).Encode(review)
	default:
		s.cluster.ServeHTTP(w, r)
	}
}

// run makes a report, and checks that it shows no secret.
func (s *scene) run(ctx context.Context, probe bool, environ ...string) Report {
	s.t.Helper()
	settings, err := config.Load(append(slices.Clone(s.environ), environ...))
	if err != nil {
		s.t.Fatal(err)
	}
	p := s.parts
	p.Settings, p.Probe = settings, probe
	report := Run(ctx, p)
	var told strings.Builder
	if err := report.WriteJSON(&told); err != nil {
		s.t.Fatal(err)
	}
	if err := report.WriteTable(&term.Screen{Writer: &told}); err != nil {
		s.t.Fatal(err)
	}
	for _, secret := range []string{doctorsToken, s.jenkins.Secret("web-e-1111111111"), "sesame"} {
		if strings.Contains(told.String(), secret) {
			s.t.Errorf("the report tells a secret:\n%s", told.String())
		}
	}
	return report
}

// named lists the checks with this result, in order.
func named(r Report, result Result) []string {
	names := []string{}
	for _, c := range r.Checks {
		if c.Result == result {
			names = append(names, c.Name)
		}
	}
	return names
}

func show(t *testing.T, r Report) {
	t.Helper()
	var b strings.Builder
	_ = r.WriteTable(&term.Screen{Writer: &b})
	t.Log(b.String())
}

// probes lists the Jenkins nodes of probes.
func (s *scene) probes() (names []string) {
	for _, n := range s.jenkins.NodesList() {
		if strings.HasPrefix(n.Name, "bellboard-doctor-") {
			names = append(names, n.Name)
		}
	}
	return names
}
