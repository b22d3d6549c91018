package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"bellboard/pool"
)

// TestMistakes has settings with one mistake (or none) in each row, and the complete report.
func TestMistakes(t *testing.T) {
	two := func(more ...string) []string {
		return env(append([]string{"BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_DATA_LABELS=data"}, more...)...)
	}
	unlisted := func(more ...string) []string { return env(append([]string{"BELLBOARD_TEAMS=-"}, more...)...) }
	for _, tt := range []struct {
		name    string
		environ []string
		want    string // "variable=value remedy", lines; "" for none
	}{
		{"none", env(), ""},

		// Values that envconfig would accept, or report badly.
		{"a bare variable is not read", append(env(), "MAX_AGENTS=1", "PORT=x", "JENKINS_PORT=tcp://10.0.0.1:80"), ""},
		{"empty", env("BELLBOARD_TEAM_WEB_MAX_AGENTS="), `BELLBOARD_TEAM_WEB_MAX_AGENTS="" set, but empty; give it a value or unset it`},
		{"empty and required", env("BELLBOARD_JENKINS_URL= "), `BELLBOARD_JENKINS_URL=" " set, but empty; give it a value or unset it`},
		{"no unit", env("BELLBOARD_DEFAULT_IDLE_TIMEOUT=30"), `BELLBOARD_DEFAULT_IDLE_TIMEOUT="30" not a duration; write 30s`},
		{"a unit in words", env("BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=10 minutes"), `BELLBOARD_TEAM_WEB_IDLE_TIMEOUT="10 minutes" not a duration; write 10m`},
		{"a day", env("BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=1d"), `BELLBOARD_TEAM_WEB_IDLE_TIMEOUT="1d" not a duration; write 24h`},
		{"no duration at all", env("BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=soon"), `BELLBOARD_TEAM_WEB_IDLE_TIMEOUT="soon" not a duration; write e.g. 30s, 10m or 1h30m`},
		{"octal", env("BELLBOARD_MAX_AGENTS=010"), `BELLBOARD_MAX_AGENTS="010" not a plain whole number; write 10`},
		{"octal behind a pointer", env("BELLBOARD_TEAM_WEB_MAX_PERSISTENT=010"), `BELLBOARD_TEAM_WEB_MAX_PERSISTENT="010" not a plain whole number; write 10`},
		{"hexadecimal", env("BELLBOARD_MAX_AGENTS=0x10"), `BELLBOARD_MAX_AGENTS="0x10" not a plain whole number; write 16`},
		{"no number", env("BELLBOARD_MAX_AGENTS=many"), `BELLBOARD_MAX_AGENTS="many" not a whole number; write e.g. 10`},
		{"no number behind a pointer", env("BELLBOARD_TEAM_WEB_MAX_PERSISTENT=few"), `BELLBOARD_TEAM_WEB_MAX_PERSISTENT="few" not a whole number; write e.g. 10`},
		{"no truth", env("BELLBOARD_DRY_RUN=yes"), `BELLBOARD_DRY_RUN="yes" neither true nor false; write one of the two`},
		{"not a number", env("BELLBOARD_KUBE_QPS=NaN"), `BELLBOARD_KUBE_QPS="NaN" must be at least 0.1 and at most 10000`},
		{"infinite", env("BELLBOARD_KUBE_QPS=Inf"), `BELLBOARD_KUBE_QPS="Inf" must be at least 0.1 and at most 10000`},
		{"words for a rate", env("BELLBOARD_KUBE_QPS=fast"), `BELLBOARD_KUBE_QPS="fast" not a number; write e.g. 50`},
		{"no amount", env("BELLBOARD_TEAM_WEB_CPU=lots"), `BELLBOARD_TEAM_WEB_CPU="lots" not an amount; write e.g. 500m, 2 or 4Gi`},
		{"no amount left", env("BELLBOARD_TEAM_WEB_MEMORY=0"), `BELLBOARD_TEAM_WEB_MEMORY="0" must be more than 0`},
		{"no CPU format invented", env("BELLBOARD_TEAM_WEB_CPU_FORMAT=x"), `BELLBOARD_TEAM_WEB_CPU_FORMAT="x" no such setting; unset it (bellboard config lists all)`},
		{"only separators", env("BELLBOARD_TEAMS=, ,", "BELLBOARD_TEAM_WEB_LABELS=-"), `BELLBOARD_TEAMS=", ," an empty list; name at least one, or unset it`},
		{"a colon in a pair", env("BELLBOARD_TEAM_WEB_NODE_SELECTOR=a:b"), `BELLBOARD_TEAM_WEB_NODE_SELECTOR="a:b" not pairs of a node label and its value; write key=value,key=value`},
		{"machines for Windows", env("BELLBOARD_TEAM_WEB_NODE_SELECTOR=disk=ssd,kubernetes.io/os=windows"), `BELLBOARD_TEAM_WEB_NODE_SELECTOR="disk=ssd,kubernetes.io/os=windows" selects machines that run windows, and Bellboard's agents are for Linux only; write kubernetes.io/os=linux, and give builds for windows agents of another kind (a static agent, a cloud)`},
		{"machines for Linux", env("BELLBOARD_TEAM_WEB_NODE_SELECTOR=kubernetes.io/os=linux"), ""},
		{"an effect that is none", env("BELLBOARD_TEAM_WEB_TOLERATIONS=a:Never"), `BELLBOARD_TEAM_WEB_TOLERATIONS="a:Never" not tolerations; write key=value:Effect,key:Effect with NoSchedule, PreferNoSchedule or NoExecute as Effect`},

		// Ranges and choices.
		{"below zero", env("BELLBOARD_TEAM_WEB_MIN_AGENTS=-1"), `BELLBOARD_TEAM_WEB_MIN_AGENTS="-1" must be at least 0`},
		{"time below zero", env("BELLBOARD_TEAM_WEB_SCALE_UP_COOLDOWN=-1s"), `BELLBOARD_TEAM_WEB_SCALE_UP_COOLDOWN="-1s" must be at least 0s`},
		{"a priority below zero is fine", env("BELLBOARD_TEAM_WEB_PRIORITY=-1"), ""},
		{"no executors", env("BELLBOARD_TEAM_WEB_EXECUTORS=0"), `BELLBOARD_TEAM_WEB_EXECUTORS="0" must be at least 1`},
		{"a short life", env("BELLBOARD_DEFAULT_MAX_LIFETIME=10s"), `BELLBOARD_DEFAULT_MAX_LIFETIME="10s" must be 0s (never) or at least 1m`},
		{"no agents", env("BELLBOARD_TEAM_WEB_MAX_AGENTS=0"), `BELLBOARD_TEAM_WEB_MAX_AGENTS="0" must be at least 1; to stop a team set its PAUSED=true`},
		{"no wait to tune for", env("BELLBOARD_TEAM_WEB_TUNE=true"), `BELLBOARD_TEAM_WEB_TUNE="true" needs a wait to reach, and team web has none; set BELLBOARD_TEAM_WEB_TARGET_WAIT_P95, e.g. 30s, or leave TUNE out`},
		{"a wait to tune for that is none", env("BELLBOARD_DEFAULT_TUNE=true", "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=0s"), `BELLBOARD_DEFAULT_TUNE="true" needs a wait to reach, and team web has none; set BELLBOARD_TEAM_WEB_TARGET_WAIT_P95, e.g. 30s, or leave TUNE out`},
		{"one of two teams has a wait to tune for", two("BELLBOARD_DEFAULT_TUNE=true", "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=20s"), `BELLBOARD_DEFAULT_TUNE="true" needs a wait to reach, and team data has none; set BELLBOARD_TEAM_DATA_TARGET_WAIT_P95, e.g. 30s, or leave TUNE out`},
		{"a mistake in the wait to tune for", env("BELLBOARD_DEFAULT_TUNE=true", "BELLBOARD_TEAM_WEB_TARGET_WAIT_P95=20"), `BELLBOARD_TEAM_WEB_TARGET_WAIT_P95="20" not a duration; write 20s`},
		{"tuned", env("BELLBOARD_DEFAULT_TUNE=true", "BELLBOARD_DEFAULT_TARGET_WAIT_P95=20s"), ""},
		{"a share without a time", env("BELLBOARD_DEFAULT_WAIT_OBJECTIVE=95%"), `BELLBOARD_DEFAULT_WAIT_OBJECTIVE="95%" not an objective; write a share below 100% and a time of at least 1s, e.g. 95% under 60s, or none`},
		{"every build", env("BELLBOARD_TEAM_WEB_WAIT_OBJECTIVE=100% under 60s"), `BELLBOARD_TEAM_WEB_WAIT_OBJECTIVE="100% under 60s" not an objective; write a share below 100% and a time of at least 1s, e.g. 95% under 60s, or none`},
		{"a time without a unit", env("BELLBOARD_TEAM_WEB_WAIT_OBJECTIVE=95% under 60"), `BELLBOARD_TEAM_WEB_WAIT_OBJECTIVE="95% under 60" not an objective; write a share below 100% and a time of at least 1s, e.g. 95% under 60s, or none`},
		{"a share with a part", env("BELLBOARD_DEFAULT_WAIT_OBJECTIVE=99.5% under 2m", "BELLBOARD_TEAM_WEB_WAIT_OBJECTIVE=none"), ""},
		{"one berth", env("BELLBOARD_TEAM_WEB_BERTHS=1"), `BELLBOARD_TEAM_WEB_BERTHS="1" must be at least 2: Jenkins names a waiting build's label only while two nodes carry it`},
		{"a grace like our own", env("BELLBOARD_TEAM_WEB_BUILD_GRACE=5s"), `BELLBOARD_TEAM_WEB_BUILD_GRACE="5s" must be at least 30s`},
		{"a slow poll", env("BELLBOARD_POLL_INTERVAL=1m"), `BELLBOARD_POLL_INTERVAL="1m" must be at least 1ms and at most 30s`},
		{"a mode", env("BELLBOARD_TEAM_WEB_MODE=both"), `BELLBOARD_TEAM_WEB_MODE="both" no such choice; write ephemeral, persistent or auto`},
		{"a way to connect", env("BELLBOARD_DEFAULT_CONNECT=jnlp"), `BELLBOARD_DEFAULT_CONNECT="jnlp" no such choice; write inbound, tcp, ssh or swarm`},
		{"a tunnel without a port", env("BELLBOARD_AGENT_JENKINS_TUNNEL=jenkins"), `BELLBOARD_AGENT_JENKINS_TUNNEL="jenkins" not host:port; write e.g. jenkins-agent.jenkins.svc:50000`},
		{"a docker mode", env("BELLBOARD_DEFAULT_DOCKER=kvm"), `BELLBOARD_DEFAULT_DOCKER="kvm" no such choice; write none, sysbox, userns, rootless, dind or host`},
		{"the Kubernetes node's Docker", two("BELLBOARD_TEAM_DATA_PERSISTENT_DOCKER=host", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=true", "BELLBOARD_TEAM_WEB_DOCKER=host"), `BELLBOARD_TEAM_DATA_PERSISTENT_DOCKER="host" gives every build of team data the Kubernetes node; write dind, or set BELLBOARD_TEAM_DATA_ALLOW_HOST_DOCKER=true if that is meant`},
		{"the Kubernetes node's Docker for a kind that the mode forbids", env("BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_PERSISTENT_DOCKER=host"), ""},
		{"a log level", env("BELLBOARD_LOG_LEVEL=loud"), `BELLBOARD_LOG_LEVEL="loud" no such choice; write debug, info, warn or error`},
		{"a form of the log", env("BELLBOARD_LOG_FORMAT=text"), `BELLBOARD_LOG_FORMAT="text" no such choice; write console or json`},
		{"an address", env("BELLBOARD_LISTEN=8080"), `BELLBOARD_LISTEN="8080" not an address; write :8080 or 127.0.0.1:8080`},
		{"an image", env("BELLBOARD_DEFAULT_IMAGE=a b"), `BELLBOARD_DEFAULT_IMAGE="a b" not an image; write e.g. ` + pool.DefaultImage},
		{"an image for the daemon", env("BELLBOARD_DEFAULT_DOCKER_IMAGE=a b"), `BELLBOARD_DEFAULT_DOCKER_IMAGE="a b" not an image; write e.g. ` + pool.DefaultImage},
		{"a file of authorities", env("BELLBOARD_DEFAULT_AGENT_CA_CONFIGMAP=/etc/ca.pem"), `BELLBOARD_DEFAULT_AGENT_CA_CONFIGMAP="/etc/ca.pem" not a name in Kubernetes; write lower-case letters, digits, dashes and dots`},
		{"a proxy without a scheme", env("BELLBOARD_DEFAULT_HTTP_PROXY=proxy:3128"), `BELLBOARD_DEFAULT_HTTP_PROXY="proxy:3128" not a proxy's address; write e.g. http://proxy.example.com:3128`},
		{"a proxy without a port", env("BELLBOARD_DEFAULT_HTTPS_PROXY=http://proxy"), `BELLBOARD_DEFAULT_HTTPS_PROXY="http://proxy" not a proxy's address; write e.g. http://proxy.example.com:3128`},
		{"a proxy by https", env("BELLBOARD_DEFAULT_HTTPS_PROXY=https://proxy:3128"), `BELLBOARD_DEFAULT_HTTPS_PROXY="https://proxy:3128" not a proxy's address; write e.g. http://proxy.example.com:3128`},
		{"a proxy with a password", env("BELLBOARD_TEAM_WEB_HTTP_PROXY=http://u:secret@proxy:3128"), `BELLBOARD_TEAM_WEB_HTTP_PROXY="***" holds a user or a password, which every build could read, and Java reads neither; leave both out, and name a proxy that asks for none`},
		{"a port without a proxy", env("BELLBOARD_DEFAULT_NO_PROXY=.svc,jenkins:8080"), `BELLBOARD_DEFAULT_NO_PROXY=".svc,jenkins:8080" jenkins:8080 has a port, which Java cannot tell apart; write jenkins`},
		{"an address without a proxy", env("BELLBOARD_DEFAULT_NO_PROXY=http://jenkins"), `BELLBOARD_DEFAULT_NO_PROXY="http://jenkins" "http://jenkins" is no host, domain, address or network; write e.g. .svc,.example.com,10.0.0.0/8`},
		{"half an address without a proxy", env("BELLBOARD_DEFAULT_NO_PROXY=10.*"), `BELLBOARD_DEFAULT_NO_PROXY="10.*" "10.*" is no host, domain, address or network; write e.g. .svc,.example.com,10.0.0.0/8`},
		{"all forms without a proxy", env("BELLBOARD_DEFAULT_NO_PROXY=.svc, *.example.com,localhost 10.0.0.0/8,::1,fd00::/8,127.0.0.1"), ""},
		{"every host without a proxy", env("BELLBOARD_DEFAULT_NO_PROXY=*"), ""},
		{"a user", env("BELLBOARD_DEFAULT_RUN_AS=root"), `BELLBOARD_DEFAULT_RUN_AS="root" no such choice; write jenkins or platform`},
		{"a user of the platform beside a daemon", env("BELLBOARD_DEFAULT_RUN_AS=platform"), `BELLBOARD_DEFAULT_RUN_AS="platform" not for the persistent agents of team web: with DOCKER=dind they need rights that allow user 1000, too; write BELLBOARD_TEAM_WEB_PERSISTENT_RUN_AS=jenkins, or BELLBOARD_TEAM_WEB_PERSISTENT_DOCKER=none`},
		{"a user of the platform where there is none", env("BELLBOARD_DEFAULT_RUN_AS=platform", "BELLBOARD_DEFAULT_DOCKER=none"), ""},
		{"a user of the platform for sshd", env("BELLBOARD_DEFAULT_RUN_AS=platform", "BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_CONNECT=ssh", "BELLBOARD_SSH_SECRET=keys", "BELLBOARD_SSH_HOST_KEY="+testKey), `BELLBOARD_DEFAULT_RUN_AS="platform" not for the ephemeral agents of team web: sshd is root; write BELLBOARD_TEAM_WEB_EPHEMERAL_RUN_AS=jenkins, or BELLBOARD_TEAM_WEB_EPHEMERAL_CONNECT=inbound`},
		{"an instance", env("BELLBOARD_INSTANCE=My CI"), `BELLBOARD_INSTANCE="My CI" not a DNS label; write lower-case letters, digits and dashes, 63 at most`},
		{"a Kubernetes name", env("BELLBOARD_DEFAULT_STORAGE_CLASS=Fast!"), `BELLBOARD_DEFAULT_STORAGE_CLASS="Fast!" not a name in Kubernetes; write lower-case letters, digits, dashes and dots`},
		{"a default that every team overrides", env("BELLBOARD_DEFAULT_MIN_AGENTS=-1", "BELLBOARD_TEAM_WEB_MIN_AGENTS=1"), `BELLBOARD_DEFAULT_MIN_AGENTS="-1" must be at least 0`},
		{"a kind that the mode forbids", env("BELLBOARD_TEAM_WEB_MODE=ephemeral", "BELLBOARD_TEAM_WEB_PERSISTENT_CPU=x"), `BELLBOARD_TEAM_WEB_PERSISTENT_CPU="x" not an amount; write e.g. 500m, 2 or 4Gi`},

		// Jenkins' address, and secrets.
		{"no scheme", env("BELLBOARD_JENKINS_URL=jenkins:8080"), `BELLBOARD_JENKINS_URL="jenkins:8080" not an http or https address; write e.g. https://jenkins.example.com`},
		{"a query", env("BELLBOARD_JENKINS_URL=http://j/ci?x=1"), `BELLBOARD_JENKINS_URL="http://j/ci?x=1" has a query or a fragment; write http://j/ci`},
		{"a password in it", env("BELLBOARD_JENKINS_URL=http://u:secret@j"), `BELLBOARD_JENKINS_URL="***" holds a user or a password; leave both out`},
		{"a token in a variable", env("BELLBOARD_JENKINS_TOKEN=11abc", "BELLBOARD_JENKINS_TOKEN_FILE=-"), `BELLBOARD_JENKINS_TOKEN="***" a secret comes from a file only; write it into a file, and the file's path to BELLBOARD_JENKINS_TOKEN_FILE`},
		{"a password in a variable", env("BELLBOARD_SWARM_PASSWORD=x"), `BELLBOARD_SWARM_PASSWORD="***" no such setting; unset it (bellboard config lists all)`},

		// Missing settings.
		{"no Jenkins", env("BELLBOARD_JENKINS_URL=-", "BELLBOARD_JENKINS_USER=-", "BELLBOARD_JENKINS_TOKEN_FILE=-"), `BELLBOARD_JENKINS_URL not set; write where Jenkins is, e.g. https://jenkins.example.com
BELLBOARD_JENKINS_USER not set; name Bellboard's user in Jenkins
BELLBOARD_JENKINS_TOKEN_FILE not set; name the file that holds that user's API token`},
		{"no teams", unlisted("BELLBOARD_TEAM_WEB_LABELS=-"), `BELLBOARD_TEAM_<NAME>_LABELS not set, so there is no team; write the labels of a team's agents, e.g. BELLBOARD_TEAM_WEB_LABELS=linux docker`},
		{"labels for every team, and no team", unlisted("BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_DEFAULT_LABELS=linux"), `BELLBOARD_TEAM_<NAME>_LABELS not set, so there is no team; write the labels of a team's agents, e.g. BELLBOARD_TEAM_WEB_LABELS=linux docker`},
		{"no labels", env("BELLBOARD_TEAM_WEB_LABELS=-"), `BELLBOARD_TEAM_WEB_LABELS not set; write the labels its agents carry, e.g. linux docker`},
		{"no Swarm user", two("BELLBOARD_SWARM_USER=-"), `BELLBOARD_SWARM_USER not set, and the agents of web, data connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound`},
		{"no Swarm password", env("BELLBOARD_SWARM_PASSWORD_SECRET=-"), `BELLBOARD_SWARM_PASSWORD_SECRET not set, and the agents of web connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound`},
		{"a first team without Swarm", env("BELLBOARD_SWARM_USER=-", "BELLBOARD_SWARM_PASSWORD_SECRET=-"), ""},
		{"Swarm that is asked for", env("BELLBOARD_SWARM_USER=-", "BELLBOARD_SWARM_PASSWORD_SECRET=-", "BELLBOARD_DEFAULT_PERSISTENT_CONNECT=swarm"), `BELLBOARD_SWARM_USER not set, and the agents of web connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound
BELLBOARD_SWARM_PASSWORD_SECRET not set, and the agents of web connect by Swarm; set it, or BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound`},
		{"no Swarm user needed", env("BELLBOARD_SWARM_USER=-", "BELLBOARD_SWARM_PASSWORD_SECRET=-", "BELLBOARD_DEFAULT_PERSISTENT_CONNECT=inbound"), ""},

		{"no keys", env("BELLBOARD_TEAM_WEB_EPHEMERAL_CONNECT=ssh"), `BELLBOARD_SSH_SECRET not set, and Jenkins calls the agents of web by SSH; set it (docs/ssh.md), or write another CONNECT
BELLBOARD_SSH_HOST_KEY not set, and Jenkins calls the agents of web by SSH; set it (docs/ssh.md), or write another CONNECT`},
		{"a host key that is none", env("BELLBOARD_SSH_HOST_KEY=AAAA"), `BELLBOARD_SSH_HOST_KEY="AAAA" not a public key; write what ssh-keygen -y -f host_key prints: ssh-ed25519 AAAA…`},
		{"a private key where a public one belongs", env("BELLBOARD_SSH_HOST_KEY=-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaA=="), `BELLBOARD_SSH_HOST_KEY="***" not a public key; write what ssh-keygen -y -f host_key prints: ssh-ed25519 AAAA…`},
		{"a Docker that sessions could not use", env("BELLBOARD_TEAM_WEB_CONNECT=ssh", "BELLBOARD_TEAM_WEB_DOCKER=rootless", "BELLBOARD_SSH_SECRET=keys", "BELLBOARD_SSH_HOST_KEY="+testKey), `BELLBOARD_TEAM_WEB_DOCKER="rootless" not for the agents of team web, which Jenkins calls by SSH: an SSH session cannot use that Docker; write dind, userns or sysbox`},

		// Unknown variables.
		{"a misspelled one", env("BELLBOARD_TEAM_WEB_MAX_AGENST=1"), `BELLBOARD_TEAM_WEB_MAX_AGENST="1" no such setting; did you mean BELLBOARD_TEAM_WEB_MAX_AGENTS?`},
		{"a misspelled one that is missed", env("BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_WEB_LABLES=x"), `BELLBOARD_TEAM_WEB_LABLES="x" no such setting; did you mean BELLBOARD_TEAM_WEB_LABELS?`},
		{"a misspelled team", env("BELLBOARD_TEAM_WBE_MAX_AGENTS=1"), `BELLBOARD_TEAM_WBE_MAX_AGENTS="1" no team of that name in BELLBOARD_TEAMS; add wbe there, or did you mean BELLBOARD_TEAM_WEB_MAX_AGENTS?`},
		{"a misspelled team that misses it", env("BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_WBE_LABELS=x"), `BELLBOARD_TEAM_WBE_LABELS="x" no team of that name in BELLBOARD_TEAMS; add wbe there, or did you mean BELLBOARD_TEAM_WEB_LABELS?`},
		{"a misspelled setting of a misspelled team", env("BELLBOARD_TEAM_WBE_LABLES=x"), `BELLBOARD_TEAM_WBE_LABLES="x" no such setting; did you mean BELLBOARD_TEAM_WEB_LABELS or BELLBOARD_TEAM_WBE_LABELS?`},
		{"a short team that is not listed", env("BELLBOARD_TEAM_OPS_LABELS=x"), `BELLBOARD_TEAM_OPS_LABELS="x" no team of that name in BELLBOARD_TEAMS; add ops there or unset this`},
		{"a setting of a short team that is not listed", env("BELLBOARD_TEAM_OPS_EPHEMERAL_CPU=1"), `BELLBOARD_TEAM_OPS_EPHEMERAL_CPU="1" no team of that name in BELLBOARD_TEAMS; add ops there or unset this`},
		{"a misspelled setting of a team that is not listed", env("BELLBOARD_TEAM_OPS_LABEL=x"), `BELLBOARD_TEAM_OPS_LABEL="x" no such setting; did you mean BELLBOARD_TEAM_OPS_LABELS?`},
		{"a misspelled long setting of a team that is not listed", env("BELLBOARD_TEAM_OPS_TWO_SCALE_DOWN_COLDOWN=1s"), `BELLBOARD_TEAM_OPS_TWO_SCALE_DOWN_COLDOWN="1s" no such setting; did you mean BELLBOARD_TEAM_OPS_TWO_SCALE_DOWN_COOLDOWN?`},
		{"the longest setting of a team that is not listed", env("BELLBOARD_TEAM_OPS_ALLOW_HOST_DOCKER=true"), `BELLBOARD_TEAM_OPS_ALLOW_HOST_DOCKER="true" no team of that name in BELLBOARD_TEAMS; add ops there or unset this`},
		{"no name of a team", env("BELLBOARD_TEAM_LABELS=x"), `BELLBOARD_TEAM_LABELS="x" no such setting; did you mean BELLBOARD_TEAM_<NAME>_LABELS?`},
		{"small letters", env("BELLBOARD_TEAM_web_MODE=auto"), `BELLBOARD_TEAM_web_MODE="auto" no such setting; did you mean BELLBOARD_TEAM_WEB_MODE?`},
		{"two letters are another team", env("BELLBOARD_TEAMS=web,qa", "BELLBOARD_TEAM_QA_LABELS=q", "BELLBOARD_TEAM_QB_LABELS=x"), `BELLBOARD_TEAM_QB_LABELS="x" no team of that name in BELLBOARD_TEAMS; add qb there or unset this`},
		{"a misspelled team of two words", env("BELLBOARD_TEAMS=web,web-shop", "BELLBOARD_TEAM_WEB_SHOP_LABELS=s", "BELLBOARD_TEAM_WEB_SHPO_LABELS=x"), `BELLBOARD_TEAM_WEB_SHPO_LABELS="x" no team of that name in BELLBOARD_TEAMS; add web-shpo there, or did you mean BELLBOARD_TEAM_WEB_SHOP_LABELS?`},
		{"a team that is not listed", env("BELLBOARD_TEAM_MOBILE_APPS_PERSISTENT_CPU=1"), `BELLBOARD_TEAM_MOBILE_APPS_PERSISTENT_CPU="1" no team of that name in BELLBOARD_TEAMS; add mobile-apps there or unset this`},
		{"without TEAM", env("BELLBOARD_WEB_MAX_AGENTS=1"), `BELLBOARD_WEB_MAX_AGENTS="1" no such setting; did you mean BELLBOARD_TEAM_WEB_MAX_AGENTS?`},
		{"without DEFAULT", env("BELLBOARD_MIN_IDLE=1"), `BELLBOARD_MIN_IDLE="1" no such setting; did you mean BELLBOARD_DEFAULT_MIN_IDLE?`},
		{"the daemon's, for a team", env("BELLBOARD_TEAM_WEB_POLL_INTERVAL=1s"), `BELLBOARD_TEAM_WEB_POLL_INTERVAL="1s" no such setting; did you mean BELLBOARD_POLL_INTERVAL?`},
		{"the team's, for a kind", env("BELLBOARD_TEAM_WEB_PERSISTENT_MAX_AGENTS=1"), `BELLBOARD_TEAM_WEB_PERSISTENT_MAX_AGENTS="1" no such setting; did you mean BELLBOARD_TEAM_WEB_MAX_AGENTS?`},
		{"service links", append(env(), "BELLBOARD_SERVICE_HOST=10.0.0.1", "BELLBOARD_SERVICE_PORT=80", "BELLBOARD_SERVICE_PORT_HTTP=80", "BELLBOARD_PORT=tcp://10.0.0.1:80",
			"BELLBOARD_PORT_80_TCP=tcp://10.0.0.1:80", "BELLBOARD_PORT_80_TCP_PROTO=tcp", "BELLBOARD_PORT_80_TCP_PORT=80", "BELLBOARD_PORT_80_TCP_ADDR=10.0.0.1",
			"BELLBOARD_METRICS_SERVICE_HOST=10.0.0.2", "BELLBOARD_METRICS_PORT=udp://10.0.0.2:1", "BELLBOARD_METRICS_PORT_1_UDP_ADDR=10.0.0.2"), ""},
		{"a port that is no service link", env("BELLBOARD_PORT=8080"), `BELLBOARD_PORT="8080" no such setting; unset it (bellboard config lists all)`},

		// Names of teams.
		{"one twice", env("BELLBOARD_TEAMS=web web"), `BELLBOARD_TEAMS="web web" names web twice; drop one`},
		{"not a DNS label", env("BELLBOARD_TEAMS=Web"), `BELLBOARD_TEAMS="Web" "Web" cannot name a team; write lower-case letters, digits and dashes, a letter or digit first and last`},
		{"one variable for two", env("BELLBOARD_TEAMS=web,web-shop,web_shop", "BELLBOARD_TEAM_WEB_SHOP_LABELS=shop"), `BELLBOARD_TEAMS="web,web-shop,web_shop" teams web-shop and web_shop would share the variables BELLBOARD_TEAM_WEB_SHOP_…; rename one`},
		{
			"too long", env("BELLBOARD_TEAMS="+strings.Repeat("w", 41), "BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_"+strings.Repeat("W", 41)+"_LABELS=x"),
			`BELLBOARD_TEAMS="` + strings.Repeat("w", 41) + `" "` + strings.Repeat("w", 41) + `" is longer than 40 characters; shorten it`,
		},
		{"one name before another is fine", env("BELLBOARD_TEAMS=web,web-b", "BELLBOARD_TEAM_WEB_B_LABELS=b", "BELLBOARD_TEAM_WEB_B_MAX_AGENTS=3"), ""},
		{"a name that ends like a kind", env("BELLBOARD_TEAMS=web,web-persistent", "BELLBOARD_TEAM_WEB_PERSISTENT_LABELS=b", "BELLBOARD_TEAM_WEB_PERSISTENT_MODE=auto"), ""},
		{"a variable of two teams, by the kind", env("BELLBOARD_TEAMS=web,web-persistent", "BELLBOARD_TEAM_WEB_PERSISTENT_LABELS=b", "BELLBOARD_TEAM_WEB_PERSISTENT_CPU=2"), `BELLBOARD_TEAM_WEB_PERSISTENT_CPU="2" may be PERSISTENT_CPU of team web or CPU of team web-persistent; rename one of the two teams`},
		{"the same the other way round", env("BELLBOARD_TEAMS=web-persistent,web", "BELLBOARD_TEAM_WEB_PERSISTENT_LABELS=b", "BELLBOARD_TEAM_WEB_PERSISTENT_CPU=2"), `BELLBOARD_TEAM_WEB_PERSISTENT_CPU="2" may be CPU of team web-persistent or PERSISTENT_CPU of team web; rename one of the two teams`},
		{"a variable of two teams, by a long setting", env("BELLBOARD_TEAMS=web-allow-host,web", "BELLBOARD_TEAM_WEB_ALLOW_HOST_LABELS=b", "BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER=none"), `BELLBOARD_TEAM_WEB_ALLOW_HOST_DOCKER="none" may be DOCKER of team web-allow-host or ALLOW_HOST_DOCKER of team web; rename one of the two teams`},

		// Without BELLBOARD_TEAMS.
		{"a team by its labels", unlisted(), ""},
		{"two teams by their labels", unlisted("BELLBOARD_TEAM_WEB_SHOP_LABELS=shop", "BELLBOARD_TEAM_WEB_SHOP_MODE=ephemeral"), ""},
		{"empty labels", unlisted("BELLBOARD_TEAM_WEB_LABELS="), `BELLBOARD_TEAM_WEB_LABELS="" set, but empty; give it a value or unset it`},
		{"no labels, but another setting", unlisted("BELLBOARD_TEAM_OPS_MODE=auto"), `BELLBOARD_TEAM_OPS_MODE="auto" no team ops, since BELLBOARD_TEAM_OPS_LABELS is not set; set that or unset this`},
		{"no labels anywhere, but another setting", unlisted("BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_OPS_MODE=auto"), `BELLBOARD_TEAM_OPS_MODE="auto" no team ops, since BELLBOARD_TEAM_OPS_LABELS is not set; set that or unset this`},
		{"a team like another one", unlisted("BELLBOARD_TEAM_WBE_MODE=auto"), `BELLBOARD_TEAM_WBE_MODE="auto" no team wbe, since BELLBOARD_TEAM_WBE_LABELS is not set; set that, or did you mean BELLBOARD_TEAM_WEB_MODE?`},
		{"misspelled labels of a second team", unlisted("BELLBOARD_TEAM_MOBILE_LABLES=mac"), `BELLBOARD_TEAM_MOBILE_LABLES="mac" no such setting; did you mean BELLBOARD_TEAM_MOBILE_LABELS?`},
		{"misspelled labels of the only team", unlisted("BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_WEB_LABLES=linux"), `BELLBOARD_TEAM_WEB_LABLES="linux" no such setting; did you mean BELLBOARD_TEAM_WEB_LABELS?`},
		{"the longest setting of a team without labels", unlisted("BELLBOARD_TEAM_OPS_PERSISTENT_CACHE_SIZE=9Gi"), `BELLBOARD_TEAM_OPS_PERSISTENT_CACHE_SIZE="9Gi" no team ops, since BELLBOARD_TEAM_OPS_LABELS is not set; set that or unset this`},
		{"labels of a kind", unlisted("BELLBOARD_TEAM_WEB_PERSISTENT_LABELS=big"), `BELLBOARD_TEAM_WEB_PERSISTENT_LABELS="big" agents of both kinds have the labels of BELLBOARD_TEAM_WEB_LABELS; unset this, or, if there is a team web-persistent, name all teams in BELLBOARD_TEAMS`},
		{"a team named like a kind of none", unlisted("BELLBOARD_TEAM_OPS_PERSISTENT_LABELS=big"), ""},
		{"labels in small letters", unlisted("BELLBOARD_TEAM_ops_LABELS=x"), `BELLBOARD_TEAM_ops_LABELS="x" no team ops, since BELLBOARD_TEAM_OPS_LABELS is not set; set that or unset this`},
		{"a name that can name no team", unlisted("BELLBOARD_TEAM__OPS_LABELS=x"), `BELLBOARD_TEAM__OPS_LABELS="x" "-ops" cannot name a team; write lower-case letters, digits and dashes, a letter or digit first and last`},

		// Labels.
		{"the same labels", two("BELLBOARD_TEAM_DATA_LABELS=docker linux docker"), `BELLBOARD_TEAM_DATA_LABELS="docker linux docker" the same labels as team web has, so Bellboard cannot tell their builds apart; change one`},
		{"one label set for all", two("BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_DATA_LABELS=-", "BELLBOARD_DEFAULT_LABELS=linux"), `BELLBOARD_DEFAULT_LABELS="linux" the same labels as team web has, so Bellboard cannot tell their builds apart; change one`},
		{"one label set for three", two("BELLBOARD_TEAMS=web,data,ops", "BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_DATA_LABELS=-", "BELLBOARD_DEFAULT_LABELS=linux"), `BELLBOARD_DEFAULT_LABELS="linux" the same labels as team web has, so Bellboard cannot tell their builds apart; change one`},
		{"more labels are fine", two("BELLBOARD_TEAM_DATA_LABELS=docker linux gpu"), ""},
		{"an expression", env("BELLBOARD_TEAM_WEB_LABELS=linux&&docker"), `BELLBOARD_TEAM_WEB_LABELS="linux&&docker" "linux&&docker" is no plain label in Jenkins' grammar; leave out & | ! < > ( ) " ' and ->`},
		{"a comma", env("BELLBOARD_TEAM_WEB_LABELS=linux,docker gpu"), `BELLBOARD_TEAM_WEB_LABELS="linux,docker gpu" "linux,docker" is one label in Jenkins, with its comma; write blanks between labels: linux docker gpu`},
		{"commas alone", env("BELLBOARD_TEAM_WEB_LABELS=, ,"), `BELLBOARD_TEAM_WEB_LABELS=", ," "," is one label in Jenkins, with its comma; write blanks between labels: linux docker`},
		{"odd but plain", env("BELLBOARD_TEAM_WEB_LABELS=os:linux a-b $x ü"), ""},
		{"a kind", env("BELLBOARD_TEAM_WEB_LABELS=linux persistent"), `BELLBOARD_TEAM_WEB_LABELS="linux persistent" Bellboard adds "persistent" to the agents of that kind; leave it out, and set MODE if the team is to have no other kind`},

		// Limits against one another.
		{"minimum over maximum", env("BELLBOARD_TEAM_WEB_MIN_AGENTS=6", "BELLBOARD_DEFAULT_MAX_AGENTS=4"), `BELLBOARD_TEAM_WEB_MIN_AGENTS="6" more than BELLBOARD_DEFAULT_MAX_AGENTS=4; lower one or raise the other`},
		{"minimum over a built-in maximum", env("BELLBOARD_TEAM_WEB_MIN_AGENTS=11"), `BELLBOARD_TEAM_WEB_MIN_AGENTS="11" more than BELLBOARD_TEAM_WEB_MAX_AGENTS=10 (built-in); lower one or raise the other`},
		{"spares over maximum", env("BELLBOARD_DEFAULT_MIN_IDLE=6", "BELLBOARD_TEAM_WEB_MAX_AGENTS=4"), `BELLBOARD_DEFAULT_MIN_IDLE="6" more than BELLBOARD_TEAM_WEB_MAX_AGENTS=4; lower one or raise the other`},
		{"minimum over persistent ones", env("BELLBOARD_TEAM_WEB_MIN_AGENTS=3", "BELLBOARD_TEAM_WEB_MAX_PERSISTENT=2"), `BELLBOARD_TEAM_WEB_MIN_AGENTS="3" more than BELLBOARD_TEAM_WEB_MAX_PERSISTENT=2, and a minimum is persistent; lower one or raise the other`},
		{"the same in mode ephemeral is fine", env("BELLBOARD_TEAM_WEB_MIN_AGENTS=3", "BELLBOARD_TEAM_WEB_MAX_PERSISTENT=0", "BELLBOARD_TEAM_WEB_MODE=ephemeral"), ""},
		{"persistent, but none", env("BELLBOARD_TEAM_WEB_MODE=persistent", "BELLBOARD_TEAM_WEB_MAX_PERSISTENT=0"), `BELLBOARD_TEAM_WEB_MAX_PERSISTENT="0" leaves team web, whose mode is persistent, no agent; raise it or set PAUSED=true`},
		{"minimums over the global cap", two("BELLBOARD_DEFAULT_MIN_AGENTS=3", "BELLBOARD_MAX_AGENTS=5"), `BELLBOARD_MAX_AGENTS="5" less than the 6 that the teams' MIN_AGENTS add up to (it is 5); raise it or lower them`},
		{"nothing is said of a limit that cannot be read", env("BELLBOARD_TEAM_WEB_MIN_AGENTS=50", "BELLBOARD_TEAM_WEB_MAX_AGENTS=x"), `BELLBOARD_TEAM_WEB_MAX_AGENTS="x" not a whole number; write e.g. 10`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []string
			for _, m := range mistakes(t, tt.environ) {
				s := m.Variable
				if m.Set {
					s += fmt.Sprintf("=%q", m.Value)
				}
				got = append(got, s+" "+m.Remedy)
			}
			if g := strings.Join(got, "\n"); g != tt.want {
				t.Errorf("said:\n%s\nwant:\n%s", g, tt.want)
			}
		})
	}
}

// TestMistakesLayout checks that all mistakes of all teams come at once, each on its own line.
func TestMistakesLayout(t *testing.T) {
	m := mistakes(t, env("BELLBOARD_TEAMS=web,data", "BELLBOARD_TEAM_WEB_LABELS=-", "BELLBOARD_TEAM_DATA_LABELS=data",
		"BELLBOARD_TEAM_WEB_IDLE_TIMEOUT=10 minutes", "BELLBOARD_TEAM_WEB_LABLES=linux", "BELLBOARD_TEAM_DATA_MIN_AGENTS=6", "BELLBOARD_TEAM_DATA_MAX_AGENTS=4"))
	lines := strings.Split(m.Error(), "\n")
	slices.Sort(lines[1:])
	want := `3 mistakes in the settings
  BELLBOARD_TEAM_DATA_MIN_AGENTS="6"             more than BELLBOARD_TEAM_DATA_MAX_AGENTS=4; lower one or raise the other
  BELLBOARD_TEAM_WEB_IDLE_TIMEOUT="10 minutes"   not a duration; write 10m
  BELLBOARD_TEAM_WEB_LABLES="linux"              no such setting; did you mean BELLBOARD_TEAM_WEB_LABELS?`
	if got := strings.Join(lines, "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if last := m[len(m)-1].Variable; last != "BELLBOARD_TEAM_DATA_MIN_AGENTS" {
		t.Errorf("the last mistake is %s's, want data's: teams stand in the order of BELLBOARD_TEAMS", last)
	}
	if got := (Mistakes{m[0]}).Error(); !strings.HasPrefix(got, "1 mistake in the settings\n") {
		t.Errorf("one mistake reads %q", got)
	}
}

// TestTags checks that something reads each tag: a misspelled tag would check nothing.
func TestTags(t *testing.T) {
	var modes []string
	for _, m := range pool.DockerModes() {
		modes = append(modes, string(m))
	}
	tags := []string{"split_words", "min", "max", "zero", "why", "one", "is", "need", "login", "with", "shown", "persistent", "desc"}
	for _, f := range slices.Concat(fieldsOf(&Global{}), fieldsOf(&Limits{}), fieldsOf(&PodSettings{})) {
		for _, m := range regexp.MustCompile(`(\w+):"[^"]*"`).FindAllStringSubmatch(string(f.Tag), -1) {
			if !slices.Contains(tags, m[1]) {
				t.Errorf("%s has a tag %s that nothing reads", f.Name, m[1])
			}
		}
		if is := f.Tag.Get("is"); is != "" && forms[is] == nil {
			t.Errorf("%s is a %q, of which there is no form", f.Name, is)
		}
		if with := f.Tag.Get("with"); with != "" && without[Connect(with)] == "" {
			t.Errorf("nothing is said of a missing %s, which %q needs", f.Name, with)
		}
		if f.Tag.Get("desc") == "" {
			t.Errorf("%s has no description", f.Name)
		}
		if want := strings.Join(modes, " "); f.Name == "DOCKER" && f.Tag.Get("one") != want {
			t.Errorf("%s is one of %q, want %q", f.Name, f.Tag.Get("one"), want)
		}
		if f.Value.Kind() == reflect.Pointer {
			f.Value.Set(reflect.New(f.Value.Type().Elem()))
		}
		_ = check(f, printValue(f.Value)) // panics at a bound that is no number
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"LABLES", "LABELS", 1}, {"MAX_AGENST", "MAX_AGENTS", 1}, {"kitten", "sitting", 3}, {"short", "very much longer", 14}} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
}
