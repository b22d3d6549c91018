package config

import (
	"encoding/pem"
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"bellboard/cmd/internal/term"
	"bellboard/pool"
	"bellboard/queue"
	"bellboard/scaler"
)

// env returns the settings of one team without a mistake, with further variables. The value "-" removes a
// variable.
func env(more ...string) []string {
	out := []string{
		"BELLBOARD_JENKINS_URL=http://jenkins:8080/", "BELLBOARD_JENKINS_USER=bellboard", "BELLBOARD_JENKINS_TOKEN_FILE=/run/token",
		"BELLBOARD_SWARM_USER=swarm", "BELLBOARD_SWARM_PASSWORD_SECRET=swarm",
		"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux docker",
	}
	for _, m := range more {
		name, value, _ := strings.Cut(m, "=")
		out = slices.DeleteFunc(out, func(e string) bool { return strings.HasPrefix(e, name+"=") })
		if value != "-" {
			out = append(out, m)
		}
	}
	return out
}

func load(t *testing.T, environ []string, options ...Option) *Config {
	t.Helper()
	c, err := Load(environ, options...)
	if err != nil {
		t.Fatalf("Load: %v", err)
	}
	return c
}

func mistakes(t *testing.T, environ []string, options ...Option) Mistakes {
	t.Helper()
	_, err := Load(environ, options...)
	if err == nil {
		return nil
	}
	var m Mistakes
	if !errors.As(err, &m) {
		t.Fatalf("Load's error is a %T, want Mistakes", err)
	}
	return m
}

// authority returns a certificate in the form PEM.
func authority(t *testing.T) []byte {
	t.Helper()
	s := httptest.NewTLSServer(nil)
	defer s.Close()
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
}

// TestAuthorities checks that a file without Jenkins' authorities is found before anything calls Jenkins.
func TestAuthorities(t *testing.T) {
	files := map[string][]byte{"/ca.crt": authority(t), "/key": []byte("-----BEGIN PRIVATE KEY-----")}
	read := WithFiles(func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return text, nil
	})
	for file, want := range map[string]string{"/ca.crt": "", "/nowhere": "cannot be read (file does not exist); mount the ConfigMap", "/key": "holds no certificate"} {
		m := mistakes(t, env("BELLBOARD_JENKINS_CA_FILE="+file), read, WithoutJenkins())
		if want == "" && len(m) > 0 || want != "" && (len(m) != 1 || m[0].Variable != "BELLBOARD_JENKINS_CA_FILE" || !strings.HasPrefix(m[0].Remedy, want)) {
			t.Errorf("%s: %v, want %q", file, m, want)
		}
	}
	load(t, env("BELLBOARD_JENKINS_CA_FILE=/nowhere")) // nothing may read files
}

// TestTeamNames checks which teams there are, and their order: that of BELLBOARD_TEAMS, or else that of the
// names.
func TestTeamNames(t *testing.T) {
	labels := []string{"BELLBOARD_TEAM_WEB_SHOP_LABELS=shop", "BELLBOARD_TEAM_WEB2_LABELS=two", "BELLBOARD_TEAM_APPS_LABELS=apps"}
	for list, want := range map[string]string{
		"-":                        "apps web web-shop web2",
		"web2, web, web-shop,apps": "web2 web web-shop apps",
	} {
		var got []string
		for _, team := range load(t, env(append(labels, "BELLBOARD_TEAMS="+list)...)).Teams {
			got = append(got, team.Name)
		}
		if s := strings.Join(got, " "); s != want {
			t.Errorf("BELLBOARD_TEAMS=%s: teams %s, want %s", list, s, want)
		}
	}
}

func TestBuiltInValues(t *testing.T) {
	c := load(t, env())
	want := builtinGlobal()
	want.JenkinsURL, want.AgentJenkinsURL, want.JenkinsUser, want.JenkinsTokenFile = "http://jenkins:8080", "http://jenkins:8080", "bellboard", "/run/token"
	want.Teams, want.Namespace, want.SwarmUser, want.SwarmPasswordSecret = "web", "default", "swarm", "swarm"
	if diff := cmp.Diff(want, c.Global); diff != "" {
		t.Errorf("globals (-want +got):\n%s", diff)
	}
	wantTeams := []scaler.Team{{
		Name: "web", Labels: []string{"docker", "linux"}, Mode: scaler.ModeAuto, MaxAgents: 10, MaxPersistent: 10, MostPersistent: 10, WaitValue: 10, Objective: scaler.Objective{Share: 0.95, Within: time.Minute}, CachePrice: 0.03,
		Pools: []scaler.Pool{
			{PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Connect: scaler.Inbound, Labels: []string{"docker", "ephemeral", "linux"}, Berths: 2, StartTimeout: 5 * time.Minute, Namespace: "default"},
			{
				PoolID: scaler.PoolID{Team: "web", Kind: scaler.Persistent}, Connect: scaler.Swarm, Labels: []string{"docker", "linux", "persistent", "swarm"}, Berths: 2, Executors: 1, StartTimeout: 5 * time.Minute, MaxLifetime: 24 * time.Hour,
				Slots: true, Namespace: "default", SlotStore: "dind", SlotSize: 20 << 30, SlotKeep: 7 * 24 * time.Hour,
			},
		},
	}}
	got := c.ScalerTeams()
	for i, s := range c.PoolSpecs() {
		if p := &got[0].Pools[i]; p.Spec != s.Hash() {
			t.Errorf("the %s pool's spec is %q, want its pods', %q", p.Kind, p.Spec, s.Hash())
		}
		got[0].Pools[i].Spec = ""
	}
	if diff := cmp.Diff(wantTeams, got); diff != "" {
		t.Errorf("teams (-want +got):\n%s", diff)
	}
	e, p := c.Teams[0].Pods[scaler.Ephemeral], c.Teams[0].Pods[scaler.Persistent]
	if e.Docker != pool.DockerNone || p.Docker != pool.DockerDind || e.Image != pool.DefaultImage || p.CPU != "1" || p.Memory != "2Gi" || p.CacheSize != "20Gi" || p.Namespace != "default" {
		t.Errorf("built-in pods: ephemeral %+v, persistent %+v", e, p)
	}
}

// TestConnect checks that persistent agents connect by Swarm if SWARM_USER is set and CONNECT is not. Without
// Swarm they do not have the label swarm.
func TestConnect(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ []string
		connect Connect
		origin  string
	}{
		{"with a Swarm user", env(), ConnectSwarm, "BELLBOARD_SWARM_USER"},
		{"without", env("BELLBOARD_SWARM_USER=-", "BELLBOARD_SWARM_PASSWORD_SECRET=-"), ConnectInbound, BuiltIn},
		{"inbound is said", env("BELLBOARD_DEFAULT_CONNECT=inbound"), ConnectInbound, "BELLBOARD_DEFAULT_CONNECT"},
		{"tcp is said of its kind", env("BELLBOARD_TEAM_WEB_PERSISTENT_CONNECT=tcp"), ConnectTCP, "BELLBOARD_TEAM_WEB_PERSISTENT_CONNECT"},
	} {
		c := load(t, tt.environ)
		e, p := c.Teams[0].Pods[scaler.Ephemeral], c.Teams[0].Pods[scaler.Persistent]
		if p.Connect != tt.connect || e.Connect == ConnectSwarm {
			t.Errorf("%s: persistent agents connect by %s, ephemeral ones by %s, want %s and never swarm", tt.name, p.Connect, e.Connect, tt.connect)
		}
		if got := slices.Contains(c.ScalerTeams()[0].Pools[1].Labels, "swarm"); got != (tt.connect == ConnectSwarm) {
			t.Errorf("%s: that persistent agents carry the label swarm is %v", tt.name, got)
		}
		var table strings.Builder
		if err := c.WriteTable(&term.Screen{Writer: &table}, c.Effective()); err != nil {
			t.Fatal(err)
		}
		from := tt.origin
		if from == "BELLBOARD_TEAM_WEB_PERSISTENT_CONNECT" {
			from = "itself"
		}
		want := "BELLBOARD_TEAM_WEB_PERSISTENT_CONNECT " + string(tt.connect) + " " + from
		if !slices.ContainsFunc(strings.Split(table.String(), "\n"), func(l string) bool { return strings.Join(strings.Fields(l), " ") == want }) {
			t.Errorf("%s: the table of settings has no line %q:\n%s", tt.name, want, table.String())
		}
	}
}

// TestLayers sets each layer over the layers below it.
func TestLayers(t *testing.T) {
	layers := []struct{ variable, value string }{
		{"BELLBOARD_DEFAULT_CPU", "2"},
		{"BELLBOARD_DEFAULT_PERSISTENT_CPU", "3"},
		{"BELLBOARD_TEAM_WEB_CPU", "4"},
		{"BELLBOARD_TEAM_WEB_PERSISTENT_CPU", "5"},
	}
	wantEphemeral := []string{"1", "2", "2", "4", "4"}
	wantPersistent := []string{"1", "2", "3", "4", "5"}
	environ := env("BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data")
	for i := range len(layers) + 1 {
		if i > 0 {
			environ = append(environ, layers[i-1].variable+"="+layers[i-1].value)
		}
		pods := load(t, environ).Teams[0].Pods
		ephemeral, persistent := pods[scaler.Ephemeral], pods[scaler.Persistent]
		if got := ephemeral.CPU; got != wantEphemeral[i] {
			t.Errorf("with %d layers: ephemeral CPU %s, want %s", i, got, wantEphemeral[i])
		}
		if got := persistent.CPU; got != wantPersistent[i] {
			t.Errorf("with %d layers: persistent CPU %s, want %s", i, got, wantPersistent[i])
		}
	}
	data := load(t, environ).Teams[1].Pods[scaler.Persistent]
	if got := data.CPU; got != "3" {
		t.Errorf("the other team's persistent CPU = %s, want 3: one team's settings reached another", got)
	}
}

func TestTeamsDoNotShare(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_DEFAULT_MAX_PERSISTENT=3", "BELLBOARD_TEAM_DATA_MAX_PERSISTENT=7",
		"BELLBOARD_DEFAULT_NODE_SELECTOR=a=1", "BELLBOARD_TEAM_WEB_NODE_SELECTOR=b=2", "BELLBOARD_TEAM_DATA_MAX_AGENTS=8"))
	if web, data := *c.Teams[0].MaxPersistent, *c.Teams[1].MaxPersistent; web != 3 || data != 7 {
		t.Errorf("MAX_PERSISTENT web %d, data %d, want 3 and 7", web, data)
	}
	web := c.PoolSpecs()[0].NodeSelector
	if diff := cmp.Diff(map[string]string{"b": "2"}, web); diff != "" {
		t.Errorf("a team's map must replace the one below it, not add to it (-want +got):\n%s", diff)
	}
}

func TestMaxPersistentFollowsMaxAgents(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAM_WEB_MAX_AGENTS=40"))
	if got := c.ScalerTeams()[0].MaxPersistent; got != 40 {
		t.Errorf("MaxPersistent = %d, want MAX_AGENTS=40", got)
	}
}

// TestCostPerHour: a team's price wins over that of all teams, and one for a kind over both.
func TestCostPerHour(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAMS=web,data,old", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_TEAM_OLD_LABELS=old",
		"BELLBOARD_DEFAULT_COST_PER_HOUR=0.1", "BELLBOARD_DEFAULT_PERSISTENT_COST_PER_HOUR=0.2", "BELLBOARD_TEAM_WEB_COST_PER_HOUR=0.3",
		"BELLBOARD_TEAM_WEB_EPHEMERAL_COST_PER_HOUR=0.4", "BELLBOARD_TEAM_OLD_COST_PER_HOUR=0"))
	if diff := cmp.Diff(map[scaler.PoolID]float64{
		{Team: "web", Kind: scaler.Ephemeral}: 0.4, {Team: "web", Kind: scaler.Persistent}: 0.3,
		{Team: "data", Kind: scaler.Ephemeral}: 0.1, {Team: "data", Kind: scaler.Persistent}: 0.2,
	}, c.CostPerHour()); diff != "" {
		t.Error(diff)
	}
}

func TestEveryVariableIsRead(t *testing.T) {
	// By name: a field that is renamed, or that envconfig splits into other words, is a broken setting.
	want := []string{
		"JENKINS_URL", "JENKINS_USER", "JENKINS_TOKEN_FILE", "JENKINS_CA_FILE", "POLL_INTERVAL", "JENKINS_RESTART_GRACE", "TEAMS", "INSTANCE", "AGENT_JENKINS_URL", "AGENT_JENKINS_TUNNEL",
		"NAMESPACE", "MAX_AGENTS", "LISTEN", "LOG_LEVEL", "LOG_FORMAT", "LEADER_ELECTION", "DRY_RUN", "KUBE_QPS", "KUBE_BURST", "SWARM_USER", "SWARM_PASSWORD_SECRET",
		"SSH_CREDENTIALS", "SSH_SECRET", "SSH_HOST_KEY",
		"LABELS", "MODE", "MIN_AGENTS", "MIN_IDLE", "MAX_AGENTS", "MAX_PERSISTENT", "SCALE_UP_COOLDOWN", "SCALE_DOWN_COOLDOWN", "WAIT_VALUE", "TARGET_WAIT_P95", "WAIT_OBJECTIVE", "TUNE", "CACHE_PRICE", "SCALE_UP_STEP", "BERTHS",
		"EXECUTORS", "MAX_LIFETIME", "UNLABELLED", "PRIORITY", "PAUSED", "SCHEDULE", "ALLOW_HOST_DOCKER",
		"IDLE_TIMEOUT", "START_TIMEOUT", "BUILD_GRACE", "CONNECT", "NAMESPACE", "IMAGE", "CPU", "MEMORY", "DOCKER", "DOCKER_IMAGE", "DOCKER_CLI_IMAGE", "CACHE_SIZE", "CACHE_KEEP", "COST_PER_HOUR", "STORAGE_CLASS", "REGISTRY_MIRROR", "AGENT_CA_CONFIGMAP", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "RUN_AS",
		"SERVICE_ACCOUNT", "IMAGE_PULL_SECRET", "PRIORITY_CLASS", "NODE_SELECTOR", "TOLERATIONS", "POD_TEMPLATE_FILE",
	}
	var got []string
	for _, spec := range []any{&Global{}, &Limits{}, &PodSettings{}} {
		for _, f := range fieldsOf(spec) {
			got = append(got, f.Name)
			for _, tag := range []string{"default", "envconfig", "required"} {
				if _, has := f.Tag.Lookup(tag); has {
					t.Errorf("%s has the tag %s, which breaks layering", f.Name, tag)
				}
			}
			if f.Tag.Get("desc") == "" {
				t.Errorf("%s has no desc", f.Name)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("settings (-want +got):\n%s", diff)
	}
	values := map[string]string{
		"JENKINS_URL": "https://j", "AGENT_JENKINS_URL": "https://a", "AGENT_JENKINS_TUNNEL": "a:50000", "JENKINS_USER": "u", "JENKINS_TOKEN_FILE": "/t", "JENKINS_CA_FILE": "/ca", "POLL_INTERVAL": "2s",
		"JENKINS_RESTART_GRACE": "6m", "TEAMS": "web", "INSTANCE": "ci", "NAMESPACE": "ns", "MAX_AGENTS": "11", "LISTEN": "127.0.0.1:1", "LOG_LEVEL": "debug", "LOG_FORMAT": "console", "LEADER_ELECTION": "false", "DRY_RUN": "true",
		"KUBE_QPS": "7.5", "KUBE_BURST": "8", "SWARM_USER": "s", "SWARM_PASSWORD_SECRET": "p", "SSH_CREDENTIALS": "key", "SSH_SECRET": "keys", "SSH_HOST_KEY": testKey, "LABELS": "x", "MODE": "persistent", "MIN_AGENTS": "1", "MIN_IDLE": "2",
		"MAX_PERSISTENT": "9", "SCALE_UP_COOLDOWN": "3s", "SCALE_DOWN_COOLDOWN": "4s", "WAIT_VALUE": "2.5", "TARGET_WAIT_P95": "44s", "WAIT_OBJECTIVE": "99.5% under 90s", "TUNE": "true", "CACHE_PRICE": "0.5", "SCALE_UP_STEP": "5", "BERTHS": "6", "EXECUTORS": "3", "MAX_LIFETIME": "5m", "UNLABELLED": "true", "PRIORITY": "-7", "PAUSED": "true", "SCHEDULE": "0 22 * * * for 8h: PAUSED=false", "ALLOW_HOST_DOCKER": "true",
		"IDLE_TIMEOUT": "21s", "START_TIMEOUT": "22s", "BUILD_GRACE": "33s", "CONNECT": "tcp", "IMAGE": "i:1", "CPU": "500m", "MEMORY": "1Gi", "DOCKER": "none",
		"CACHE_SIZE": "5Gi", "CACHE_KEEP": "3h", "COST_PER_HOUR": "0.12", "STORAGE_CLASS": "fast", "REGISTRY_MIRROR": "http://m", "SERVICE_ACCOUNT": "sa", "IMAGE_PULL_SECRET": "ips", "PRIORITY_CLASS": "pc",
		"NODE_SELECTOR": "k=v", "TOLERATIONS": "t=v:NoSchedule", "POD_TEMPLATE_FILE": "/pod.yaml",
		"DOCKER_IMAGE": "d:1", "DOCKER_CLI_IMAGE": "c:1", "AGENT_CA_CONFIGMAP": "ca", "HTTP_PROXY": "http://p:1", "HTTPS_PROXY": "http://p:2", "NO_PROXY": ".svc", "RUN_AS": "platform",
	}
	var environ []string
	for _, f := range fieldsOf(&Global{}) {
		environ = append(environ, "BELLBOARD_"+f.Name+"="+values[f.Name])
	}
	for _, spec := range []any{&Limits{}, &PodSettings{}} {
		for _, f := range fieldsOf(spec) {
			environ = append(environ, "BELLBOARD_TEAM_WEB_"+f.Name+"="+values[f.Name])
		}
	}
	files := WithFiles(func(name string) ([]byte, error) {
		return map[string][]byte{"/pod.yaml": []byte("spec: {}"), "/ca": authority(t)}[name], nil
	})
	for _, s := range load(t, environ, files).Effective() {
		setting := strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(s.Variable, "BELLBOARD_"), "TEAM_WEB_"), "PERSISTENT_")
		if s.Value != values[setting] {
			t.Errorf("%s = %q, want %q", s.Variable, s.Value, values[setting])
		}
		if s.Origin == BuiltIn {
			t.Errorf("%s says it is built-in, but was set", s.Variable)
		}
	}
}

// TestObjective checks the objective that each team gets: its own, or the wait that Bellboard looks for, or the built-in.
func TestObjective(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAMS=web,data,tools,free", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_TEAM_TOOLS_LABELS=tools", "BELLBOARD_TEAM_FREE_LABELS=free",
		"BELLBOARD_TEAM_DATA_TARGET_WAIT_P95=20s", "BELLBOARD_TEAM_TOOLS_TARGET_WAIT_P95=20s", "BELLBOARD_TEAM_TOOLS_WAIT_OBJECTIVE=99.9% under 2m", "BELLBOARD_TEAM_FREE_WAIT_OBJECTIVE=none"))
	var got []scaler.Objective
	for _, team := range c.ScalerTeams() {
		got = append(got, team.Objective)
	}
	want := []scaler.Objective{{Share: 0.95, Within: time.Minute}, {Share: 0.95, Within: 20 * time.Second}, {Share: 0.999, Within: 2 * time.Minute}, {}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, s := range c.Effective() {
		if s.Variable == "BELLBOARD_TEAM_DATA_WAIT_OBJECTIVE" && (s.Value != "95% under 20s" || s.Origin != "BELLBOARD_TEAM_DATA_TARGET_WAIT_P95") {
			t.Errorf("bellboard config shows %+v", s)
		}
	}
}

func TestLoadLeavesTheEnvironment(t *testing.T) {
	t.Setenv("BELLBOARD_TEAM_WEB_MAX_AGENTS", "77")
	t.Setenv("BELLBOARD_LISTEN", "nonsense")
	if got := load(t, env()).Teams[0].MaxAgents; got != 10 {
		t.Errorf("MAX_AGENTS = %d from the process' environment, want 10: only the given one counts", got)
	}
	_ = mistakes(t, env("BELLBOARD_LISTEN=x", "BELLBOARD_MAX_AGENTS=x"))
	if got := os.Getenv("BELLBOARD_TEAM_WEB_MAX_AGENTS") + os.Getenv("BELLBOARD_LISTEN"); got != "77nonsense" {
		t.Errorf("after Load the environment holds %q, want what it held before", got)
	}
	if _, set := os.LookupEnv("BELLBOARD_TEAMS"); set {
		t.Error("after Load BELLBOARD_TEAMS is set in the process, and was not before")
	}
}

func TestNamespace(t *testing.T) {
	files := WithFiles(func(name string) ([]byte, error) {
		if name != namespaceFile {
			t.Errorf("Load reads %s", name)
		}
		return []byte("ci\n"), nil
	})
	none := WithFiles(func(string) ([]byte, error) { return nil, os.ErrNotExist })
	for _, tt := range []struct {
		name    string
		environ []string
		option  Option
		want    string
	}{
		{"own", env(), files, "ci"},
		{"not in a cluster", env(), none, "default"},
		{"set", env("BELLBOARD_NAMESPACE=agents"), files, "agents"},
		{"set for all teams", env("BELLBOARD_NAMESPACE=agents", "BELLBOARD_DEFAULT_NAMESPACE=teams"), files, "teams"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := load(t, tt.environ, tt.option).Teams[0].Pods[scaler.Ephemeral].Namespace; got != tt.want {
				t.Errorf("namespace = %q, want %q", got, tt.want)
			}
		})
	}
}

// TestPoolSpecs checks that every setting of a pod reaches the Spec.
func TestPoolSpecs(t *testing.T) {
	c := load(t, env("BELLBOARD_INSTANCE=ci", "BELLBOARD_AGENT_JENKINS_URL=http://inside/", "BELLBOARD_AGENT_JENKINS_TUNNEL=inside:50000", "BELLBOARD_TEAM_WEB_EPHEMERAL_CONNECT=tcp", "BELLBOARD_DEFAULT_NAMESPACE=ns", "BELLBOARD_DEFAULT_IMAGE=i:1", "BELLBOARD_DEFAULT_CPU=3",
		"BELLBOARD_DEFAULT_MEMORY=4Gi", "BELLBOARD_DEFAULT_CACHE_SIZE=5Gi", "BELLBOARD_DEFAULT_CACHE_KEEP=3h", "BELLBOARD_DEFAULT_STORAGE_CLASS=fast", "BELLBOARD_DEFAULT_REGISTRY_MIRROR=http://m",
		"BELLBOARD_DEFAULT_SERVICE_ACCOUNT=sa", "BELLBOARD_DEFAULT_IMAGE_PULL_SECRET=ips", "BELLBOARD_DEFAULT_PRIORITY_CLASS=pc", "BELLBOARD_DEFAULT_BUILD_GRACE=2m",
		"BELLBOARD_DEFAULT_DOCKER_IMAGE=d:1", "BELLBOARD_DEFAULT_DOCKER_CLI_IMAGE=c:1", "BELLBOARD_DEFAULT_AGENT_CA_CONFIGMAP=ca", "BELLBOARD_TEAM_WEB_EPHEMERAL_RUN_AS=platform",
		"BELLBOARD_DEFAULT_HTTP_PROXY=http://p:1/", "BELLBOARD_DEFAULT_HTTPS_PROXY=http://p:2", "BELLBOARD_DEFAULT_NO_PROXY=inside .svc, 10.0.0.0/8",
		"BELLBOARD_DEFAULT_NODE_SELECTOR=k=v", "BELLBOARD_DEFAULT_TOLERATIONS=t", "BELLBOARD_DEFAULT_EXECUTORS=3", "BELLBOARD_DEFAULT_UNLABELLED=true"))
	want := pool.Spec{
		PoolID: scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}, Instance: "ci", Namespace: "ns", Image: "i:1", Connect: scaler.Inbound, Transport: pool.TCP, Tunnel: "inside:50000",
		Labels: []string{"docker", "ephemeral", "linux"}, CPU: resource.MustParse("3"), Memory: resource.MustParse("4Gi"), Docker: pool.DockerNone,
		RegistryMirror: "http://m", CacheSize: resource.MustParse("5Gi"), CacheKeep: 3 * time.Hour, StorageClass: "fast", BuildGrace: 2 * time.Minute, ServiceAccount: "sa",
		ImagePullSecret: "ips", PriorityClass: "pc", NodeSelector: map[string]string{"k": "v"}, Tolerations: []corev1.Toleration{{Key: "t", Operator: corev1.TolerationOpExists}},
		JenkinsURL: "http://inside", SwarmUser: "swarm", SwarmPasswordSecret: "swarm", Executors: 1, Unlabelled: true,
		DockerImage: "d:1", DockerCLIImage: "c:1", CAConfigMap: "ca", HTTPProxy: "http://p:1", HTTPSProxy: "http://p:2", NoProxy: "inside,.svc,10.0.0.0/8", PlatformUser: true,
	}
	swarm := want
	swarm.Executors, swarm.PlatformUser = 3, false
	swarm.Kind, swarm.Connect, swarm.Transport, swarm.Docker, swarm.Labels = scaler.Persistent, scaler.Swarm, pool.WebSocket, pool.DockerDind, []string{"docker", "linux", "persistent", "swarm"}
	if diff := cmp.Diff([]pool.Spec{want, swarm}, c.PoolSpecs()); diff != "" {
		t.Errorf("specs (-want +got):\n%s", diff)
	}
}

func TestPodTemplate(t *testing.T) {
	files := map[string]string{
		"/good.yaml": "spec: {hostNetwork: true}",
		"/bad.yaml":  "spec:\n  nodeName: x\n  restartPolicy: Always\n",
		"/odd.yaml":  "spec:\n  nodename: x\n  nodeselector: {}\n",
	}
	read := WithFiles(func(name string) ([]byte, error) {
		text, ok := files[name]
		if !ok {
			return nil, os.ErrNotExist
		}
		return []byte(text), nil
	})
	specs := load(t, env("BELLBOARD_TEAM_WEB_EPHEMERAL_POD_TEMPLATE_FILE=/good.yaml", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true"), read).PoolSpecs()
	if specs[0].Template == nil || specs[1].Template != nil || !pool.Build(specs[0], "x").Spec.HostNetwork {
		t.Errorf("the ephemeral pod has the template %v, the persistent one %v", specs[0].Template, specs[1].Template)
	}
	for _, tt := range []struct {
		name    string
		environ []string
		options []Option
		want    []string
	}{
		{"all mistakes, each once", env("BELLBOARD_DEFAULT_POD_TEMPLATE_FILE=/bad.yaml"), []Option{read}, []string{
			"BELLBOARD_DEFAULT_POD_TEMPLATE_FILE line 2: spec.nodeName: takes the choice from the scheduler, full or not; leave it out, and set NODE_SELECTOR",
			"BELLBOARD_DEFAULT_POD_TEMPLATE_FILE line 3: spec.restartPolicy: an agent that is started again has lost its build; leave it out",
		}},
		{"unknown fields", env("BELLBOARD_TEAM_WEB_PERSISTENT_POD_TEMPLATE_FILE=/odd.yaml"), []Option{read}, []string{
			"BELLBOARD_TEAM_WEB_PERSISTENT_POD_TEMPLATE_FILE line 2: spec.nodename: a pod has no such field; kubectl explain pod.spec lists those it has",
			"BELLBOARD_TEAM_WEB_PERSISTENT_POD_TEMPLATE_FILE line 3: spec.nodeselector: a pod has no such field; kubectl explain pod.spec lists those it has",
		}},
		{"what is not allowed", env("BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE=/good.yaml"), []Option{read}, []string{
			"BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE line 1: spec.hostNetwork: belongs to the machine, and every build could take that over; leave it out, or set ALLOW_HOST_DOCKER=true if that is meant",
		}},
		{"no such file", env("BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE=/none"), []Option{read}, []string{
			"BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE cannot be read (file does not exist); mount the ConfigMap that holds it, or correct the path",
		}},
		{"no files", env("BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE=/good.yaml"), nil, []string{"BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE no pod template can be read here; unset it"}},
	} {
		_, err := Load(tt.environ, tt.options...)
		var m Mistakes
		errors.As(err, &m)
		var got []string
		for _, one := range m {
			got = append(got, one.Variable+" "+one.Remedy)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// TestPodTemplateOfSeveralKinds checks that a template of several kinds of agent may have a container or
// volume that only some of them have. One that none of them has is a mistake.
func TestPodTemplateOfSeveralKinds(t *testing.T) {
	const text = "spec:\n  initContainers:\n  - name: dind\n    image: mirror/docker:29-dind\n  containers:\n  - name: agent\n    env: [{name: A, value: b}]\n  volumes:\n  - name: docker-data\n"
	read := WithFiles(func(string) ([]byte, error) { return []byte(text), nil })
	none := func(kind, team string) string {
		return " line 3: spec.initContainers[dind]: the " + kind + " agents of team " + team + " (DOCKER=none) have no such container; set DOCKER, or this file for another kind, or leave it out"
	}
	two := []string{"BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data", "BELLBOARD_TEAM_DATA_MODE=ephemeral"}
	for _, tt := range []struct {
		name    string
		environ []string
		want    []string // mistakes
		notes   int
	}{
		{"of both kinds", env("BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE=/pod.yaml"), nil, 2},
		{"of every team", env(append(two, "BELLBOARD_DEFAULT_POD_TEMPLATE_FILE=/pod.yaml")...), nil, 4},
		{"of the kind that has it", env("BELLBOARD_TEAM_WEB_PERSISTENT_POD_TEMPLATE_FILE=/pod.yaml"), nil, 0},
		{"where both have it", env("BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE=/pod.yaml", "BELLBOARD_TEAM_WEB_DOCKER=dind"), nil, 0},
		{"of the kind that has it not", env("BELLBOARD_TEAM_WEB_EPHEMERAL_POD_TEMPLATE_FILE=/pod.yaml"), []string{
			"BELLBOARD_TEAM_WEB_EPHEMERAL_POD_TEMPLATE_FILE" + none("ephemeral", "web"),
			"BELLBOARD_TEAM_WEB_EPHEMERAL_POD_TEMPLATE_FILE line 9: spec.volumes[docker-data]: the ephemeral agents of team web (DOCKER=none) have no such volume; set DOCKER, or this file for another kind, or leave it out",
		}, 0},
		{"of a team that has it not", env(append(two, "BELLBOARD_TEAM_DATA_POD_TEMPLATE_FILE=/pod.yaml")...), []string{
			"BELLBOARD_TEAM_DATA_POD_TEMPLATE_FILE" + none("ephemeral", "data"),
			"BELLBOARD_TEAM_DATA_POD_TEMPLATE_FILE line 9: spec.volumes[docker-data]: the ephemeral agents of team data (DOCKER=none) have no such volume; set DOCKER, or this file for another kind, or leave it out",
		}, 0},
	} {
		c, err := Load(tt.environ, read)
		var m Mistakes
		errors.As(err, &m)
		var got []string
		for _, one := range m {
			got = append(got, one.Variable+" "+one.Remedy)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
		if c == nil {
			continue
		}
		if notes := c.Notes(); len(notes) != tt.notes || tt.notes > 0 && !strings.Contains(notes[0], "_POD_TEMPLATE_FILE: line 3: spec.initContainers[dind]: the ephemeral agents of team web (DOCKER=none) have no such container, and are made without it") {
			t.Errorf("%s: the notes are %q, want %d", tt.name, notes, tt.notes)
		}
		for _, s := range c.PoolSpecs() {
			pod := pool.Build(s, "x-x-1")
			has := slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "dind" && c.Image == "mirror/docker:29-dind" })
			volume := slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool { return v.Name == "docker-data" })
			if wants := s.Docker == pool.DockerDind; s.Template != nil && (has != wants || volume != wants) {
				t.Errorf("%s: %s, %s: the daemon of the template is there: %v, its volume: %v, want %v", tt.name, s.Team, s.Kind, has, volume, wants)
			}
		}
	}
}

// TestTemplatesOfTheDocs checks that a team with defaults can use each template of the docs.
func TestTemplatesOfTheDocs(t *testing.T) {
	found := 0
	for _, file := range []string{"docker.md", "templates.md", "install.md", "operate.md", "tune.md"} {
		text, err := os.ReadFile(filepath.Join("../../../docs", file))
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range regexp.MustCompile("(?ms)^ *```[a-z]*\n(.*?)^ *```").FindAllStringSubmatch(string(text), -1) {
			if !regexp.MustCompile(`(?m)\A *(spec|metadata):`).MatchString(block[1]) {
				continue
			}
			found++
			read := WithFiles(func(string) ([]byte, error) { return []byte(block[1]), nil })
			for _, variable := range []string{"BELLBOARD_TEAM_WEB_POD_TEMPLATE_FILE", "BELLBOARD_TEAM_WEB_PERSISTENT_POD_TEMPLATE_FILE", "BELLBOARD_DEFAULT_POD_TEMPLATE_FILE"} {
				if _, err := Load(env(variable+"=/pod.yaml"), read); err != nil {
					t.Errorf("%s: with %s this is refused:\n%s\n%v", file, variable, block[1], err)
				}
			}
		}
	}
	if found < 2 {
		t.Errorf("%d templates are in the docs, want those of docs/templates.md", found)
	}
}

// testKey is a public key without a private key.
const testKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"

func TestSSH(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAM_WEB_EPHEMERAL_CONNECT=ssh", "BELLBOARD_SSH_SECRET=keys", "BELLBOARD_SSH_HOST_KEY="+testKey, "BELLBOARD_NAMESPACE=ci"))
	id := scaler.PoolID{Team: "web", Kind: scaler.Ephemeral}
	want := map[scaler.PoolID]queue.SSH{id: {Domain: "bellboard-agents.ci.svc", CredentialsID: "jenkins-agent-ssh", HostKey: testKey}}
	if diff := cmp.Diff(want, c.SSH()); diff != "" {
		t.Errorf("SSH (-want +got):\n%s", diff)
	}
	s := c.PoolSpecs()[0]
	if s.Image != pool.DefaultSSHImage || s.Transport != pool.SSH || s.Connect != scaler.Inbound || s.SSHSecret != "keys" || c.ScalerTeams()[0].Pools[0].Connect != scaler.Inbound {
		t.Errorf("its pods are of %+v", s)
	}
	if got := load(t, env("BELLBOARD_DEFAULT_CONNECT=ssh", "BELLBOARD_DEFAULT_IMAGE=mine:1", "BELLBOARD_SSH_SECRET=keys", "BELLBOARD_SSH_HOST_KEY="+testKey)).PoolSpecs()[1].Image; got != "mine:1" {
		t.Errorf("its image is %s, and was set to mine:1", got)
	}
}

func TestWarnings(t *testing.T) {
	if w := load(t, env("BELLBOARD_DEFAULT_ALLOW_HOST_DOCKER=true", "BELLBOARD_DEFAULT_REGISTRY_MIRROR=http://m")).Warnings(); len(w) > 0 {
		t.Errorf("without DOCKER=host it warns of %q", w)
	}
	got := load(t, env("BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true", "BELLBOARD_DEFAULT_REGISTRY_MIRROR=http://m", "BELLBOARD_TEAM_WEB_EPHEMERAL_DOCKER=host",
		"BELLBOARD_DEFAULT_HTTPS_PROXY=http://p:1", "BELLBOARD_DEFAULT_AGENT_CA_CONFIGMAP=ca")).Warnings()
	want := []string{
		"BELLBOARD_TEAM_WEB_EPHEMERAL_DOCKER=host: every build on the ephemeral agents of team web can take over its Kubernetes node, and its containers stay there after the build",
		"BELLBOARD_TEAM_WEB_EPHEMERAL_REGISTRY_MIRROR does not reach the Kubernetes node's own Docker: set registry-mirrors in that Docker's daemon.json",
		"BELLBOARD_TEAM_WEB_EPHEMERAL_HTTPS_PROXY does not reach the Kubernetes node's own Docker: set proxies in that Docker's daemon.json",
		"BELLBOARD_TEAM_WEB_EPHEMERAL_AGENT_CA_CONFIGMAP does not reach the Kubernetes node's own Docker: put the authorities into the Kubernetes node's /etc/docker/certs.d",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
}

// TestProxyWarnings checks that Bellboard warns if agents or daemons ask a proxy for a host of the cluster,
// which a proxy outside of the cluster cannot reach.
func TestProxyWarnings(t *testing.T) {
	const proxy, mirror = "BELLBOARD_TEAM_WEB_EPHEMERAL_HTTP_PROXY=http://proxy.example.com:3128", "BELLBOARD_DEFAULT_REGISTRY_MIRROR=http://mirror.ci.svc:5000"
	const jenkins = "BELLBOARD_TEAM_WEB_EPHEMERAL_HTTP_PROXY is the way of the ephemeral agents of team web to http://jenkins:8080: add jenkins to BELLBOARD_TEAM_WEB_EPHEMERAL_NO_PROXY, unless the proxy reaches this host of the cluster"
	const daemons = "BELLBOARD_TEAM_WEB_EPHEMERAL_HTTP_PROXY is the way of the ephemeral agents of team web to http://mirror.ci.svc:5000: add mirror.ci.svc to BELLBOARD_TEAM_WEB_EPHEMERAL_NO_PROXY, unless the proxy reaches this host of the cluster"
	for _, tt := range []struct {
		name    string
		environ []string
		want    []string
	}{
		{"no proxy", env(mirror), nil},
		{"Jenkins", env(proxy), []string{jenkins}},
		{"Jenkins and a mirror", env(proxy, mirror, "BELLBOARD_TEAM_WEB_EPHEMERAL_DOCKER=dind"), []string{jenkins, daemons}},
		{"a mirror that no daemon asks", env(proxy, mirror), []string{jenkins}},
		{"hosts without a proxy", env(proxy, mirror, "BELLBOARD_TEAM_WEB_EPHEMERAL_DOCKER=dind", "BELLBOARD_DEFAULT_NO_PROXY=jenkins,.svc"), nil},
		{"a proxy for https", env("BELLBOARD_DEFAULT_HTTPS_PROXY=http://proxy.example.com:3128"), nil},
		{"Jenkins outside of the cluster", env(proxy, "BELLBOARD_AGENT_JENKINS_URL=http://jenkins.example.com"), nil},
		{"Jenkins calls", env(proxy, "BELLBOARD_TEAM_WEB_EPHEMERAL_CONNECT=ssh", "BELLBOARD_SSH_SECRET=keys", "BELLBOARD_SSH_HOST_KEY="+testKey), nil},
	} {
		if diff := cmp.Diff(tt.want, load(t, tt.environ).Warnings()); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestWithoutJenkins(t *testing.T) {
	bare := []string{"BELLBOARD_TEAMS=web", "BELLBOARD_TEAM_WEB_LABELS=linux", "BELLBOARD_TEAM_WEB_MODE=ephemeral"}
	load(t, append(bare, "BELLBOARD_JENKINS_URL=https://j"), WithoutJenkins())
	if got := len(mistakes(t, bare, WithoutJenkins())); got != 1 {
		t.Errorf("without Jenkins' address there are %d mistakes, want 1", got)
	}
	if got := len(mistakes(t, bare)); got != 3 {
		t.Errorf("with Jenkins the same settings have %d mistakes, want 3: its address, user and token", got)
	}
}

func TestWithoutTeams(t *testing.T) {
	bare := []string{"BELLBOARD_JENKINS_URL=https://j", "BELLBOARD_JENKINS_USER=bell", "BELLBOARD_JENKINS_TOKEN_FILE=/t"}
	load(t, bare, WithoutTeams())
	if got := len(mistakes(t, bare)); got != 1 {
		t.Errorf("with teams the same settings have %d mistakes, want 1: the teams", got)
	}
	if got := len(mistakes(t, append(bare, "BELLBOARD_TEAMS=web"), WithoutTeams())); got != 1 {
		t.Errorf("a team that is named has %d mistakes, want 1: its labels", got)
	}
}

func TestLists(t *testing.T) {
	if got := words("a, b,, c\td,"); !slices.Equal(got, []string{"a", "b", "c", "d"}) {
		t.Errorf("words = %q", got)
	}
	want := []corev1.Toleration{
		{Key: "ci", Operator: corev1.TolerationOpEqual, Value: "yes", Effect: corev1.TaintEffectNoSchedule},
		{Key: "spot", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
		{Key: "any", Operator: corev1.TolerationOpExists},
	}
	got, ok := tolerations("ci=yes:NoSchedule, spot:NoExecute,any")
	if diff := cmp.Diff(want, got); diff != "" || !ok {
		t.Errorf("tolerations are read: %v (-want +got):\n%s", ok, diff)
	}
	if got, err := pairs("b=2,a.io/x=1"); err != nil || got.String() != "a.io/x=1,b=2" {
		t.Errorf("pairs = %v, %v", got, err)
	}
}

func TestEffective(t *testing.T) {
	c := load(t, env("BELLBOARD_TEAM_WEB_CPU=2", "BELLBOARD_DEFAULT_PERSISTENT_MEMORY=8Gi", "BELLBOARD_DEFAULT_MAX_AGENTS=20", "BELLBOARD_NAMESPACE=ci"))
	got := map[string]Setting{}
	for _, s := range c.Effective() {
		if s.Origin == "" {
			t.Errorf("%s has no origin", s.Variable)
		}
		got[s.Variable] = s
	}
	for _, want := range []Setting{
		{"", "BELLBOARD_JENKINS_TOKEN_FILE", "/run/token", "", "BELLBOARD_JENKINS_TOKEN_FILE"},
		{"", "BELLBOARD_AGENT_JENKINS_URL", "http://jenkins:8080", "", "BELLBOARD_JENKINS_URL"},
		{"", "BELLBOARD_POLL_INTERVAL", "1s", "1s", "built-in"},
		{"web", "BELLBOARD_TEAM_WEB_MAX_AGENTS", "20", "10", "BELLBOARD_DEFAULT_MAX_AGENTS"},
		{"web", "BELLBOARD_TEAM_WEB_MAX_PERSISTENT", "20", "", "BELLBOARD_DEFAULT_MAX_AGENTS"},
		{"web", "BELLBOARD_TEAM_WEB_LABELS", "linux docker", "", "BELLBOARD_TEAM_WEB_LABELS"},
		{"web", "BELLBOARD_TEAM_WEB_EPHEMERAL_CPU", "2", "1", "BELLBOARD_TEAM_WEB_CPU"},
		{"web", "BELLBOARD_TEAM_WEB_EPHEMERAL_MEMORY", "2Gi", "2Gi", "built-in"},
		{"web", "BELLBOARD_TEAM_WEB_PERSISTENT_MEMORY", "8Gi", "2Gi", "BELLBOARD_DEFAULT_PERSISTENT_MEMORY"},
		{"web", "BELLBOARD_TEAM_WEB_PERSISTENT_NAMESPACE", "ci", "", "BELLBOARD_NAMESPACE"},
		{"web", "BELLBOARD_TEAM_WEB_PERSISTENT_IDLE_TIMEOUT", "0s", "0s", "built-in"},
	} {
		if !reflect.DeepEqual(got[want.Variable], want) {
			t.Errorf("%s = %+v, want %+v", want.Variable, got[want.Variable], want)
		}
	}
	var b strings.Builder
	if err := c.WriteTable(&term.Screen{Writer: &b}, c.Effective()); err != nil || !strings.Contains(b.String(), "BELLBOARD_TEAM_WEB_EPHEMERAL_CPU") {
		t.Errorf("WriteTable: %v\n%s", err, b.String())
	}
	b.Reset()
	odd := load(t, env("BELLBOARD_TEAM_WEB_IMAGE=a\x1b[2J\u202eb"))
	if err := odd.WriteTable(&term.Screen{Writer: &b}, odd.Effective()); err != nil || strings.ContainsAny(b.String(), "\x1b\u202e") || !strings.Contains(b.String(), `a\x1b[2J\u202eb`) {
		t.Errorf("WriteTable: %v\n%q", err, b.String())
	}
	var changed []string
	for _, s := range load(t, env("BELLBOARD_TEAM_WEB_CPU=1", "BELLBOARD_DEFAULT_PERSISTENT_MEMORY=8Gi")).Effective() {
		if s.Changed() && s.Team != "" {
			changed = append(changed, s.Variable)
		}
	}
	if want := []string{"BELLBOARD_TEAM_WEB_LABELS", "BELLBOARD_TEAM_WEB_PERSISTENT_CONNECT", "BELLBOARD_TEAM_WEB_PERSISTENT_MEMORY"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %v, want %v", changed, want)
	}
	short := load(t, env("BELLBOARD_TEAM_WEB_MODE=ephemeral")).Effective()
	if slices.ContainsFunc(short, func(s Setting) bool { return strings.Contains(s.Variable, "_PERSISTENT_") }) {
		t.Error("an ephemeral team shows settings of persistent agents")
	}
}
