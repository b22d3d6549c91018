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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"bellboard/cmd/internal/app"
	"bellboard/pool"
	"bellboard/scaler"
)

// OldestKubernetes is the oldest version that Bellboard supports: agents' pods
// have a sidecar and a preStop that sleeps.
const OldestKubernetes = "1.30"

const (
	checkKube      = "Kubernetes"
	checkKubeClock = "Kubernetes' clock"
	checkOwn       = "Bellboard's own namespace"
	// kubeTimeout bounds one request to the API server.
	kubeTimeout = 15 * time.Second
)

// access is what Bellboard has to be allowed in one namespace.
type access struct {
	namespace, group, resource string
	verbs                      []string
}

func (a *access) check() string { return a.resource + " in " + a.namespace }

// kubernetes makes every check of the cluster, or says which could not be made.
func (e *exam) kubernetes(ctx context.Context) {
	specs := e.Settings.PoolSpecs()
	needs := e.needs(specs)
	rest := func(why string) {
		e.skip(checkKubeClock, "", "%s", why)
		for i := range needs {
			e.skip(needs[i].check(), "", "%s", why)
		}
		e.ownNamespace()
		for i := range specs {
			e.skip(podCheck(&specs[i]), "", "%s", why)
		}
		for _, s := range secretsOf(specs) {
			e.skip(s.check(), "", "%s", why)
		}
	}
	client, ok := e.cluster(ctx)
	if !ok {
		rest("Kubernetes does not answer")
		return
	}
	denied := map[string]bool{} // "ns/resource" of what cannot be created
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

// ownNamespace says that what Bellboard does in its own namespace is not checked, where that
// is not known.
func (e *exam) ownNamespace() {
	if e.NoOwnNamespace && !e.Settings.DryRun {
		e.skip(checkOwn, "write it, as in --namespace bellboard", "outside of the cluster nobody tells which namespace that is: its Lease and its events are there")
	}
}

// cluster reaches the API server.
func (e *exam) cluster(ctx context.Context) (kubernetes.Interface, bool) {
	if e.KubeErr != nil {
		e.finding(checkKube, "run it in the cluster (kubectl exec deploy/bellboard -- /bellboard doctor), or set KUBECONFIG", "%v", e.KubeErr)
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
		e.finding(checkKube, "it is named "+app.WayToKube(cfg), "%s: %v", cfg.Host, err)
		return nil, false
	case !known:
		e.skip(checkKube, "", "version %q cannot be compared; the oldest supported is %s", version.GitVersion, OldestKubernetes)
	case older:
		e.finding(checkKube, "update the cluster to "+OldestKubernetes+" at least", "%s is older than %s, the oldest supported", version.GitVersion, OldestKubernetes)
	default:
		e.ok(checkKube, "%s; the oldest supported is %s", version.GitVersion, OldestKubernetes)
	}
	e.clock(checkKubeClock, "START_TIMEOUT is counted from times that it writes", date, asked, answered)
	return client, true
}

// dated notes the Date of the last answer, which client-go does not show.
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

// needs lists what the daemon does in Kubernetes with these settings.
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
			add(access{s.Namespace, "", "pods", []string{"get", "list", "watch"}})
			if s.HasClaim() {
				add(access{s.Namespace, "", "persistentvolumeclaims", []string{"list", "watch"}})
			}
			continue
		}
		add(access{s.Namespace, "", "pods", []string{"get", "list", "watch", "create", "patch", "delete"}})
		add(access{s.Namespace, "", "pods/log", []string{"get"}})
		add(access{s.Namespace, "", "resourcequotas", []string{"list"}})
		if s.Keyed() {
			add(access{s.Namespace, "", "secrets", []string{"create"}})
		}
		if s.HasClaim() {
			add(access{s.Namespace, "", "persistentvolumeclaims", []string{"list", "watch", "create", "patch", "delete"}})
		}
	}
	if e.Settings.DryRun || e.NoOwnNamespace {
		return out
	}
	if e.Lead {
		add(access{e.Settings.OwnNamespace, "coordination.k8s.io", "leases", []string{"get", "create", "update"}})
	}
	add(access{e.Settings.OwnNamespace, "", "events", []string{"create", "patch"}})
	return out
}

// may asks whether the account may do something.
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

// access asks for every verb on one resource.
func (e *exam) access(ctx context.Context, client kubernetes.Interface, a *access, denied map[string]bool) {
	var no []string
	for _, verb := range a.verbs {
		allowed, err := may(ctx, client, a, verb, "")
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
		e.finding(a.check(), fmt.Sprintf("let Bellboard's Role in %s have %s on %s (deploy/install.yaml)", a.namespace, strings.Join(no, ", "), a.resource),
			"not allowed: %s", strings.Join(no, ", "))
		return
	}
	e.ok(a.check(), "may %s", strings.Join(a.verbs, ", "))
}

func podCheck(s *pool.Spec) string { return fmt.Sprintf("agents of %s, %s", s.Team, s.Kind) }

// rehearse has the API server judge a team's objects by dry run, with all its
// admission: Pod Security, quotas, priority class, service account.
func (e *exam) rehearse(ctx context.Context, client kubernetes.Interface, s *pool.Spec, denied map[string]bool) {
	name := podCheck(s)
	resources := map[string]string{"pod": "pods", "Secret": "secrets", "volume claim": "persistentvolumeclaims"}
	if denied[s.Namespace+"/pods"] {
		e.skip(name, "", "only who may create pods is told")
		return
	}
	answers, err := pool.Rehearse(ctx, client, *s, scaler.AgentName(s.PoolID, random()))
	if err != nil {
		e.skip(name, "", "%v", err)
		return
	}
	var taken, untold []string
	for _, a := range answers {
		switch {
		case len(a.Beside) > 0:
			e.finding(name, keepOut(s, a.Beside), "something of the cluster puts the container %s beside the agent: it runs on when the agent has ended, its machine and memory with it", strings.Join(a.Beside, ", "))
			return
		case a.Err == nil:
			taken = append(taken, a.Object)
		case denied[s.Namespace+"/"+resources[a.Object]], unauthorised(a.Err):
			untold = append(untold, a.Object+": it may not be created")
		case !refusal(a.Err):
			untold = append(untold, fmt.Sprintf("%s: %v", a.Object, a.Err))
		default:
			e.finding(name, remedyFor(s, a.Err), "Kubernetes would not take its %s: %v", a.Object, a.Err)
			return
		}
	}
	if len(untold) > 0 {
		e.skip(name, "", "%s", strings.Join(untold, "; "))
		return
	}
	e.ok(name, "%s would take its %s", s.Namespace, strings.Join(taken, ", "))
}

// keepOut says how agents stay alone in their pods.
func keepOut(s *pool.Spec, beside []string) string {
	how := "keep that off these pods by labels or annotations of its own in " + s.Team + "'s POD_TEMPLATE_FILE"
	if slices.Contains(beside, "istio-proxy") {
		how = `label these pods sidecar.istio.io/inject: "false" in ` + s.Team + "'s POD_TEMPLATE_FILE (docs/docker.md)"
	}
	return how + ", or have it put there as a native sidecar (an init container with restartPolicy Always)"
}

// refusal reports a word on the object, and not of trouble on the way to it.
func refusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsNotFound(err)
}

// unauthorised reports RBAC's refusal, which never looked at the object.
func unauthorised(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "cannot create resource")
}

// remedyFor knows the refusals of admission by their words.
func remedyFor(s *pool.Spec, err error) string {
	words := err.Error()
	setting := func(name string) string {
		return "BELLBOARD_TEAM_" + strings.ToUpper(strings.ReplaceAll(s.Team, "-", "_")) + "_" + strings.ToUpper(string(s.Kind)) + "_" + name
	}
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
		return fmt.Sprintf("%s=%s needs that runtime on the machines (docs/docker.md); install it, or choose another mode", setting("DOCKER"), s.Docker)
	case strings.Contains(words, "service account"), strings.Contains(words, "serviceaccount"):
		return fmt.Sprintf("kubectl -n %s create serviceaccount %s, or correct %s", s.Namespace, s.ServiceAccount, setting("SERVICE_ACCOUNT"))
	case apierrors.IsNotFound(err):
		return "kubectl create namespace " + s.Namespace
	case apierrors.IsInvalid(err):
		return "correct the setting that makes the named field"
	}
	return "see the admission rule that says so, or give the team another namespace (" + setting("NAMESPACE") + ")"
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

// secret looks whether a Secret is there, where that may be asked. Only its name
// and labels are asked for, so that its data never come here.
func (e *exam) secret(ctx context.Context, client kubernetes.Interface, s secretUse) {
	look := fmt.Sprintf("kubectl -n %s get secret %s", s.namespace, s.name)
	allowed, err := may(ctx, client, &access{namespace: s.namespace, resource: "secrets"}, "get", s.name)
	if err != nil || !allowed {
		e.skip(s.check(), "see by yourself: "+look, "Bellboard may not read Secrets, as it should be")
		return
	}
	err = client.CoreV1().RESTClient().Get().Namespace(s.namespace).Resource("secrets").Name(s.name).
		SetHeader("Accept", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1").Do(ctx).Error()
	switch {
	case apierrors.IsNotFound(err):
		e.finding(s.check(), fmt.Sprintf("kubectl -n %s create secret … %s (docs/install.md)", s.namespace, s.name), "it does not exist; pods wait for it for ever (%s)", s.of)
	case err != nil:
		e.skip(s.check(), "see by yourself: "+look, "%v", err)
	default:
		e.ok(s.check(), "it exists; what is in it is not checked")
	}
}
