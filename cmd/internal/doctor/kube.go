package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/app"
	"bellboard/pool"
	"bellboard/scaler"
)

// OldestKubernetes is the oldest version that Bellboard supports: agents' pods have a sidecar and a preStop
// hook that sleeps.
const OldestKubernetes = "1.30"

const (
	checkKube      = "Kubernetes"
	checkKubeClock = "Kubernetes' clock"
	checkOwn       = "Bellboard's own namespace"
	// kubeTimeout bounds one request to the API server.
	kubeTimeout = 15 * time.Second
)

// access has the verbs that Bellboard needs on one resource in one namespace.
type access struct {
	namespace, group, resource string
	verbs                      []string
	object                     string // the only object that Bellboard reads, changes and deletes; "": any
}

func (a *access) check() string { return a.resource + " in " + a.namespace }

// kubernetes makes or skips every check of the cluster.
func (e *exam) kubernetes(ctx context.Context) {
	specs := e.Settings.PoolSpecs()
	needs := e.needs(specs)
	client, ok := e.cluster(ctx)
	if !ok {
		names := []string{checkKubeClock}
		for i := range needs {
			names = append(names, needs[i].check())
		}
		for i := range specs {
			names = append(names, podCheck(&specs[i]))
		}
		for _, s := range secretsOf(specs) {
			names = append(names, s.check())
		}
		e.skipAll("Kubernetes does not answer", names...)
		e.ownNamespace()
		return
	}
	denied := map[string]bool{} // "namespace/resource" that Bellboard may not create
	for i := range needs {
		e.access(ctx, client, &needs[i], denied)
	}
	e.ownNamespace()
	e.others(ctx, client, specs)
	for i := range specs {
		e.rehearse(ctx, client, &specs[i], denied)
	}
	for _, s := range secretsOf(specs) {
		e.secret(ctx, client, s)
	}
}

// ownNamespace skips the checks of Bellboard's own namespace if that namespace is not known.
func (e *exam) ownNamespace() {
	if e.NoOwnNamespace && !e.Settings.DryRun {
		e.skip(checkOwn, "name the namespace, as in --namespace bellboard", "that namespace, with the Lease and the events, is not known outside of the cluster")
	}
}

// cluster makes the client, and sends the API server a first request.
func (e *exam) cluster(ctx context.Context) (kubernetes.Interface, bool) {
	if e.KubeErr != nil {
		e.finding(checkKube, "run doctor in the cluster (kubectl exec deploy/bellboard -- /bellboard doctor), or set KUBECONFIG", "%v", e.KubeErr)
		return nil, false
	}
	cfg := rest.CopyConfig(e.Kube)
	cfg.Timeout = kubeTimeout
	cfg.WarningHandler = rest.NoWarnings{}
	cfg.QPS, cfg.Burst = e.Settings.KubeQPS, e.Settings.KubeBurst
	date := ""
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return &dated{next, &date} })
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		e.finding(checkKube, "correct the kubeconfig", "%v", err)
		return nil, false
	}
	var version struct{ GitVersion string }
	asked := e.Clock.Now()
	over := app.Waits(e.Clock, e.Waiting, func() string { return "the API server " + cfg.Host + ", which has not answered yet" })
	raw, err := client.CoreV1().RESTClient().Get().AbsPath("/version").Do(ctx).Raw()
	over()
	if err == nil {
		err = json.Unmarshal(raw, &version)
	}
	answered := e.Clock.Now()
	switch older, known := olderThan(strings.TrimPrefix(version.GitVersion, "v"), OldestKubernetes); {
	case err != nil:
		e.finding(checkKube, "the API server's address is "+app.WayToKube(cfg), "%s: %v", cfg.Host, err)
		return nil, false
	case !known:
		e.skip(checkKube, "", "version %q cannot be compared; the oldest supported version is %s", version.GitVersion, OldestKubernetes)
	case older:
		e.finding(checkKube, "update the cluster to "+OldestKubernetes+" at least", "%s is older than %s, the oldest supported version", version.GitVersion, OldestKubernetes)
	default:
		e.ok(checkKube, "%s; the oldest supported version is %s", version.GitVersion, OldestKubernetes)
	}
	e.clock(checkKubeClock, "START_TIMEOUT counts from times that Kubernetes writes", date, asked, answered)
	return client, true
}

// dated notes the Date of the last answer, which client-go does not return.
type dated struct {
	http.RoundTripper
	date *string
}

func (d *dated) RoundTrip(r *http.Request) (*http.Response, error) {
	a, err := d.RoundTripper.RoundTrip(r)
	if err == nil {
		*d.date = a.Header.Get("Date")
	}
	return a, err
}

// needs lists the accesses that the daemon needs with these settings.
func (e *exam) needs(specs []pool.Spec) []access {
	var out []access
	add := func(a access) {
		same := func(b access) bool { return a.namespace == b.namespace && a.resource == b.resource }
		if !slices.ContainsFunc(out, same) {
			out = append(out, a)
		}
	}
	for i := range specs {
		s := &specs[i]
		if e.Settings.DryRun {
			add(access{s.Namespace, "", "pods", []string{"get", "list", "watch"}, ""})
			if s.HasClaim() {
				add(access{s.Namespace, "", "persistentvolumeclaims", []string{"list", "watch"}, ""})
			}
			continue
		}
		add(access{s.Namespace, "", "pods", []string{"get", "list", "watch", "create", "patch", "delete"}, ""})
		add(access{s.Namespace, "", "pods/log", []string{"get"}, ""})
		add(access{s.Namespace, "", "resourcequotas", []string{"list"}, ""})
		if s.Keyed() {
			add(access{s.Namespace, "", "secrets", []string{"create"}, ""})
		}
		if s.HasClaim() {
			add(access{s.Namespace, "", "persistentvolumeclaims", []string{"list", "watch", "create", "patch", "delete"}, ""})
		}
	}
	if e.Settings.DryRun || e.NoOwnNamespace {
		return out
	}
	if e.Lead {
		add(access{e.Settings.OwnNamespace, "coordination.k8s.io", "leases", []string{"get", "create", "update"}, ""})
	}
	add(access{e.Settings.OwnNamespace, "", "events", []string{"create", "patch"}, ""})
	add(access{e.Settings.OwnNamespace, "", "configmaps", []string{"get", "create", "update", "delete"}, pool.StoreName(e.Settings.Instance)})
	return out
}

// may asks Kubernetes whether the account has one verb of an access.
func may(ctx context.Context, client kubernetes.Interface, a *access, verb, object string) (bool, error) {
	resource, sub, _ := strings.Cut(a.resource, "/")
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: a.namespace, Verb: verb, Group: a.group, Resource: resource, Subresource: sub, Name: object},
	}}
	answer, err := client.AuthorizationV1().SelfSubjectAccessReviews().Create(ctx, review, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

// access checks every verb of an access.
func (e *exam) access(ctx context.Context, client kubernetes.Interface, a *access, denied map[string]bool) {
	var no []string
	for _, verb := range a.verbs {
		object := a.object
		if verb == "create" { // a Role cannot limit it to a name
			object = ""
		}
		allowed, err := may(ctx, client, a, verb, object)
		switch {
		case err != nil:
			e.skip(a.check(), "", "asking whether %s is allowed: %v", verb, err)
			return
		case !allowed:
			no = append(no, verb)
			denied[a.namespace+"/"+a.resource] = denied[a.namespace+"/"+a.resource] || verb == "create"
		}
	}
	if len(no) > 0 {
		on := strings.TrimSpace(a.resource + " " + a.object)
		e.finding(a.check(), fmt.Sprintf("let Bellboard's Role in %s have %s on %s (deploy/install.yaml)", a.namespace, strings.Join(no, ", "), on),
			"not allowed: %s", strings.Join(no, ", "))
		return
	}
	e.ok(a.check(), "may %s", strings.Join(a.verbs, ", "))
}

func podCheck(s *pool.Spec) string { return fmt.Sprintf("agents of %s, %s", s.Team, s.Kind) }

// rehearse sends the objects of an agent to the API server as a dry run, with all its admission: Pod
// Security, quotas, priority class, service account.
func (e *exam) rehearse(ctx context.Context, client kubernetes.Interface, s *pool.Spec, denied map[string]bool) {
	name := podCheck(s)
	resources := map[string]string{"pod": "pods", "Secret": "secrets", "volume claim": "persistentvolumeclaims"}
	if denied[s.Namespace+"/pods"] {
		e.skip(name, "", "only a user who may create pods gets an answer")
		return
	}
	var taken, untold []string
	for _, a := range dryRun(ctx, client, *s, scaler.AgentName(s.PoolID, random())) {
		switch {
		case len(a.Beside) > 0:
			e.finding(name, keepOut(s, a.Beside), "something in the cluster puts the container %s beside the agent: when the agent has ended, that container runs on and keeps the pod's memory", strings.Join(a.Beside, ", "))
			return
		case a.Err == nil:
			taken = append(taken, a.Object)
		case denied[s.Namespace+"/"+resources[a.Object]], unauthorised(a.Err):
			untold = append(untold, a.Object+": Bellboard may not create it")
		case !refusal(a.Err):
			untold = append(untold, fmt.Sprintf("%s: %v", a.Object, a.Err))
		default:
			e.finding(name, remedyFor(s, a.Err), "Kubernetes rejects the agent's %s: %v", a.Object, a.Err)
			return
		}
	}
	if len(untold) > 0 {
		e.skip(name, "", "%s", strings.Join(untold, "; "))
		return
	}
	e.ok(name, "%s accepts the agent's %s", s.Namespace, strings.Join(taken, ", "))
}

// dryRunAnswer is the API server's answer to the dry run of one of an agent's objects.
type dryRunAnswer struct {
	Object string // pod, Secret or volume claim
	Err    error  // nil: the API server would accept the object
	// Beside names the plain containers that admission would add. They would run on when the agent has ended.
	Beside []string
}

// dryRun asks the API server, by dry run, whether it would accept all objects of an agent.
func dryRun(ctx context.Context, client kubernetes.Interface, s pool.Spec, name string) []dryRunAnswer {
	s.Slot = name
	dry := metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	sent := pool.Build(s, name)
	got, err := client.CoreV1().Pods(s.Namespace).Create(ctx, sent, dry)
	out := []dryRunAnswer{{Object: "pod", Err: err}}
	if err == nil {
		for _, c := range got.Spec.Containers {
			same := func(own corev1.Container) bool { return own.Name == c.Name }
			if !slices.ContainsFunc(sent.Spec.Containers, same) {
				out[0].Beside = append(out[0].Beside, c.Name)
			}
		}
	}
	if s.Keyed() {
		_, err = client.CoreV1().Secrets(s.Namespace).Create(ctx, pool.BuildSecret(s, name, "made up"), dry)
		out = append(out, dryRunAnswer{Object: "Secret", Err: err})
	}
	if s.HasClaim() {
		_, err = client.CoreV1().PersistentVolumeClaims(s.Namespace).Create(ctx, pool.BuildClaim(s, name), dry)
		out = append(out, dryRunAnswer{Object: "volume claim", Err: err})
	}
	return out
}

// keepOut returns the remedy for a container that something puts beside the agent.
func keepOut(s *pool.Spec, beside []string) string {
	how := "keep that container out of these pods by a label or annotation in " + s.Team + "'s POD_TEMPLATE_FILE"
	if slices.Contains(beside, "istio-proxy") {
		how = `label these pods sidecar.istio.io/inject: "false" in ` + s.Team + "'s POD_TEMPLATE_FILE (docs/templates.md)"
	}
	return how + ", or have it made a native sidecar (an init container with restartPolicy Always)"
}

// refusal reports whether the API server rejected the object, and did not fail otherwise.
func refusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}

// unauthorised reports whether RBAC rejected the request. RBAC does not look at the object.
func unauthorised(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource")
}

// remedyFor returns the remedy for a rejection by admission. Only the text tells such rejections apart.
func remedyFor(s *pool.Spec, err error) string {
	words := err.Error()
	setting := func(name string) string { return scaler.VariablesOf(s.Team, s.Kind) + "_" + name }
	if remedy := s.QuotaRemedy(err); remedy != "" {
		return remedy
	}
	switch {
	case strings.Contains(words, "violates PodSecurity"):
		if standard := s.PodSecurity(); standard != "restricted" {
			why, instead := setting("DOCKER")+"="+string(s.Docker), setting("DOCKER")+"=none"
			if standard != s.Docker.PodSecurity() {
				why, instead = setting("CONNECT")+"=ssh", setting("CONNECT")+"=inbound"
			}
			return fmt.Sprintf("%s needs the standard %s: kubectl label namespace %s pod-security.kubernetes.io/enforce=%[2]s, or set %[4]s to such a namespace, or %[5]s",
				why, standard, s.Namespace, setting("NAMESPACE"), instead)
		}
		return fmt.Sprintf("kubectl label namespace %s pod-security.kubernetes.io/enforce=baseline, or set %s to another namespace", s.Namespace, setting("NAMESPACE"))
	case strings.Contains(words, "exceeded quota"), strings.Contains(words, "failed quota"):
		return "raise the quota, wait for room in it, or lower the team's CPU, MEMORY or MAX_AGENTS"
	case strings.Contains(words, "PriorityClass"):
		return "make the priority class " + s.PriorityClass + ", or correct " + setting("PRIORITY_CLASS")
	case strings.Contains(words, "RuntimeClass"):
		return fmt.Sprintf("%s=%s needs that runtime on the Kubernetes nodes (docs/docker.md); install it, or choose another mode", setting("DOCKER"), s.Docker)
	case strings.Contains(words, "service account"), strings.Contains(words, "serviceaccount"):
		return fmt.Sprintf("kubectl -n %s create serviceaccount %s, or correct %s", s.Namespace, s.ServiceAccount, setting("SERVICE_ACCOUNT"))
	case apierrors.IsNotFound(err):
		return "kubectl create namespace " + s.Namespace
	case apierrors.IsInvalid(err):
		return "correct the setting of the field that the message names"
	}
	return "see the admission rule that rejects the object, or give the team another namespace (" + setting("NAMESPACE") + ")"
}

// secretUse is a Secret that a person makes.
type secretUse struct{ namespace, name, of string }

func (s secretUse) check() string { return "Secret " + s.name + " in " + s.namespace }

// secretsOf lists the Secrets that pods refer to, each once.
func secretsOf(specs []pool.Spec) (out []secretUse) {
	for i := range specs {
		s := &specs[i]
		if s.Connect == scaler.Swarm {
			out = append(out, secretUse{s.Namespace, s.SwarmPasswordSecret, "the Swarm user's password, under the key password"})
		}
		if s.Connect == scaler.Inbound && s.Transport == pool.SSH {
			out = append(out, secretUse{s.Namespace, s.SSHSecret, "the agents' SSH keys, under the keys authorized_keys and host_key"})
		}
		if s.ImagePullSecret != "" {
			out = append(out, secretUse{s.Namespace, s.ImagePullSecret, "what IMAGE is pulled with"})
		}
	}
	slices.SortStableFunc(out, func(a, b secretUse) int { return strings.Compare(a.check(), b.check()) })
	return slices.CompactFunc(out, func(a, b secretUse) bool { return a.check() == b.check() })
}

// secret checks that a Secret exists, if the account may read it. It asks for the name and the labels only,
// so that the data of the Secret never reach doctor.
func (e *exam) secret(ctx context.Context, client kubernetes.Interface, s secretUse) {
	look := fmt.Sprintf("kubectl -n %s get secret %s", s.namespace, s.name)
	allowed, err := may(ctx, client, &access{namespace: s.namespace, resource: "secrets"}, "get", s.name)
	if err != nil || !allowed {
		e.skip(s.check(), "run "+look, "Bellboard may not read Secrets, as it should be")
		return
	}
	err = client.CoreV1().RESTClient().Get().Namespace(s.namespace).Resource("secrets").Name(s.name).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Do(ctx).Error()
	switch {
	case apierrors.IsNotFound(err):
		e.finding(s.check(), fmt.Sprintf("kubectl -n %s create secret … %s (docs/install.md)", s.namespace, s.name), "the Secret does not exist, and pods wait for it for ever (%s)", s.of)
	case err != nil:
		e.skip(s.check(), "run "+look, "%v", err)
	default:
		e.ok(s.check(), "the Secret exists; its content is not checked")
	}
}
