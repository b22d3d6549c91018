package chart

import (
	"os"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"bellboard/deploy/manifest"
)

// TestJenkinsChart renders deploy/jenkins/values.yaml by the official charts in BELLBOARD_JENKINS_CHARTS, which
// deploy/jenkins/check sets. The Jenkins has the scripts, the tokens, the permissions, the plugins and the address.
func TestJenkinsChart(t *testing.T) {
	charts := strings.Fields(os.Getenv("BELLBOARD_JENKINS_CHARTS"))
	if len(charts) == 0 {
		t.Skip("no official chart of Jenkins; deploy/jenkins/check CHART names one")
	}
	for _, path := range charts {
		t.Run(path, func(t *testing.T) {
			text, err := Helm(t.Context(), "template", "jenkins", path, "--namespace", "jenkins", "--kube-version", "1.36.0", "--values", "deploy/jenkins/values.yaml")
			if err != nil {
				t.Fatal(err)
			}
			objects, err := manifest.Objects(text)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, o := range objects {
				switch o := o.(type) {
				case *corev1.Service:
					seen["port 8080"] = seen["port 8080"] || o.Name == "jenkins" && o.Spec.Ports[0].Port == 8080
				case *corev1.ConfigMap:
					for name, data := range o.Data {
						if name == "plugins.txt" {
							for _, want := range []string{"configuration-as-code:", "matrix-auth", "swarm", "docker-workflow"} {
								seen["plugin "+want] = strings.Contains(data, want)
							}
						}
						if name == "jcasc-default-config.yaml" {
							jenkinsConfigured(t, data)
							seen["JCasC"] = true
						}
					}
				case *appsv1.StatefulSet:
					jenkinsPod(t, &o.Spec.Template.Spec)
					seen["StatefulSet"] = true
				}
			}
			for _, what := range []string{"port 8080", "plugin configuration-as-code:", "plugin matrix-auth", "plugin swarm", "plugin docker-workflow", "JCasC", "StatefulSet"} {
				if !seen[what] {
					t.Errorf("no %s", what)
				}
			}
		})
	}
}

// jenkinsConfigured checks the permissions, the executors and the address in Jenkins' configuration as code.
func jenkinsConfigured(t *testing.T, text string) {
	t.Helper()
	var c struct {
		Jenkins struct {
			NumExecutors          *int
			Nodes                 []any
			AuthorizationStrategy struct {
				ProjectMatrix struct {
					Entries []struct {
						User struct {
							Name        string
							Permissions []string
						}
					}
				}
			}
		}
		Unclassified struct{ Location struct{ URL string } }
	}
	if err := yaml.Unmarshal([]byte(text), &c); err != nil {
		t.Fatal(err)
	}
	if n := c.Jenkins.NumExecutors; n == nil || *n != 0 || c.Jenkins.Nodes != nil || c.Unclassified.Location.URL != "http://jenkins.jenkins.svc:8080/" {
		t.Errorf("Jenkins is configured so:\n%s", text)
	}
	for _, e := range c.Jenkins.AuthorizationStrategy.ProjectMatrix.Entries {
		if e.User.Name == "bellboard" && slices.Contains(e.User.Permissions, "Agent/Delete") {
			return
		}
	}
	t.Errorf("bellboard has no permissions:\n%s", text)
}

// jenkinsPod checks that Jenkins' pod has the scripts, the Secret and the variables.
func jenkinsPod(t *testing.T, pod *corev1.PodSpec) {
	t.Helper()
	source := map[string]string{}
	for _, v := range pod.Volumes {
		switch {
		case v.ConfigMap != nil:
			source[v.Name] = "ConfigMap " + v.ConfigMap.Name
		case v.Secret != nil:
			source[v.Name] = "Secret " + v.Secret.SecretName
		}
	}
	i := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == "jenkins" })
	if i < 0 {
		t.Fatal("no container jenkins")
	}
	mounted, set := map[string]string{}, map[string]string{}
	for _, m := range pod.Containers[i].VolumeMounts {
		mounted[m.MountPath] = source[m.Name]
	}
	for _, e := range pod.Containers[i].Env {
		set[e.Name] = e.Value
	}
	if mounted["/var/jenkins_home/init.groovy.d"] != "ConfigMap bellboard-init" || mounted["/run/secrets/bellboard"] != "Secret bellboard-bootstrap" {
		t.Errorf("mounted are %v", mounted)
	}
	if set["BELLBOARD_INSTANCE"] != "bellboard" || set["BELLBOARD_HELLO"] != "true" {
		t.Errorf("set are %v", set)
	}
}
