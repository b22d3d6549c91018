package migrate

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// An object is one object of the file, under its place there. Each of its fields is taken by name. What nothing
// takes is reported by rest, so no field is lost in silence.
type object struct {
	*node

	at    string // clouds[kubernetes].templates[maven]
	m     *migration
	taken map[string]bool
}

func (m *migration) object(at string, n *node) *object {
	return &object{node: n, at: at, m: m, taken: map[string]bool{}}
}

// take returns a field, and nil if it says nothing.
func (o *object) take(name string) *node {
	o.taken[name] = true
	if n := o.fields[name]; !n.empty() {
		return n
	}
	return nil
}

// value returns the text of the first of some fields that is set to more than its default.
func (o *object) value(names ...string) (out string) {
	for _, name := range names {
		n := o.take(name)
		if n == nil {
			continue
		}
		if n.fields != nil || n.list {
			o.m.todo(o.at+"."+name, "", "is no text, as the plugin wants it; correct it first")
			continue
		}
		out = cmp.Or(out, o.m.resolve(o.at+"."+name, strings.TrimSpace(n.text)))
	}
	if unset(out) {
		return ""
	}
	return out
}

// unset reports whether a text is what the plugin's fields have if nobody has set them.
func unset(text string) bool {
	return slices.Contains([]string{"", "0", "false", "2147483647"}, strings.ToLower(text))
}

// list returns the objects of a list.
func (o *object) list(name, key string) (out []*object) {
	n := o.take(name)
	if n == nil {
		return nil
	}
	items := n.items
	if !n.list && n.fields != nil {
		items = []*node{n}
	}
	for i, item := range items {
		label := fmt.Sprint(i)
		if _, body := item.described(); key != "" && !body.get(key).empty() {
			label = body.get(key).text
		} else if key != "" && !item.get(key).empty() {
			label = item.get(key).text
		}
		out = append(out, o.m.object(fmt.Sprintf("%s.%s[%s]", o.at, name, label), item))
	}
	return out
}

// pairs returns a list of keys and values: podLabels, annotations.
func (o *object) pairs(name string) map[string]string {
	out := map[string]string{}
	for _, p := range o.list(name, "key") {
		_, body := p.described()
		one := o.m.object(p.at, body)
		if key, text := one.key("key"), body.get("value"); key != "" && text != nil {
			one.taken["value"] = true
			out[key] = o.m.resolve(one.at, strings.TrimSpace(text.text))
		}
		one.rest()
	}
	return out
}

// key returns a text that may also be 0 or false.
func (o *object) key(name string) string {
	if n := o.take(name); n != nil {
		return o.m.resolve(o.at+"."+name, strings.TrimSpace(n.text))
	}
	return ""
}

// tell reports fields that Bellboard has no counterpart for, if they are set.
func (o *object) tell(known map[string]remedyOf) {
	for _, name := range slices.Sorted(maps.Keys(known)) {
		n := o.take(name)
		if n == nil || n.fields == nil && !n.list && unset(strings.TrimSpace(n.text)) {
			continue
		}
		symbol, text := "", n.text
		if n.fields != nil || n.class != "" {
			symbol, _ = n.described()
			text = symbol
		}
		r := known[name]
		switch {
		case slices.ContainsFunc(r.unless, func(u string) bool { return strings.EqualFold(u, text) }):
		case r.fine:
			o.m.fine(o.at+"."+name, text, r.text)
		default:
			o.m.todo(o.at+"."+name, text, r.text)
		}
	}
}

// rest reports the fields that nothing has taken.
func (o *object) rest() {
	for _, name := range o.names {
		if n := o.fields[name]; !o.taken[name] && !n.empty() {
			o.m.todo(o.at+"."+name, n.text, "bellboard migrate does not know this field; see what it does, and whether the pod template needs it")
		}
	}
}

// remedyOf says what becomes of a field.
type remedyOf struct {
	text   string
	fine   bool     // nothing is to be done
	unless []string // values that mean no more than the default
}

var ownRights = remedyOf{fine: true, text: "Bellboard uses its own service account in its own cluster, and Jenkins needs no way to Kubernetes"}

// cloudFields has the fields of a Kubernetes cloud without a counterpart.
var cloudFields = map[string]remedyOf{
	"credentialsId": ownRights, "serverCertificate": ownRights, "skipTlsVerify": ownRights, "serverUrl": ownRights,
	"connectTimeout": ownRights, "readTimeout": ownRights, "maxRequestsPerHost": ownRights, "maxRequestsPerHostStr": ownRights,
	"useJenkinsProxy":              ownRights,
	"waitForPodSec":                {fine: true, text: "START_TIMEOUT counts from when the pod has a Kubernetes node; the wait for a Kubernetes node has no end"},
	"retentionTimeout":             {fine: true, text: "Bellboard removes an agent within seconds after its build"},
	"garbageCollection":            {fine: true, text: "Bellboard removes every pod of its own that nothing needs, whatever was restarted"},
	"capOnlyOnAlivePods":           {fine: true, text: "Bellboard's limits count living pods only"},
	"restrictedPssSecurityContext": {fine: true, text: "agents without Docker always fit the Pod Security Standard restricted"},
	"addMasterProxyEnvVars": {text: "Bellboard does not read Jenkins' environment; write HTTP_PROXY, HTTPS_PROXY and NO_PROXY of the agents " +
		"into the pod templates, as env of the container agent"},
	"usageRestricted": {text: "Bellboard restricts no folder: each job that asks for a label gets an agent; " +
		"give restricted jobs labels that other jobs do not know"},
	"traits":       {text: "belongs to a further plugin of Jenkins, which Bellboard's agents do not have"},
	"podRetention": keepsPods,
}

var keepsPods = remedyOf{unless: []string{"never", "default"}, text: "Bellboard removes the pod of an agent that has ended; " +
	"its log and its page have the last lines of agents that failed, and a log store can keep the logs of all pods"}

// templateFields has the fields of a pod template without a counterpart.
var templateFields = map[string]remedyOf{
	"activeDeadlineSeconds": {text: "ends a pod with the build that runs then, so Bellboard never does that; " +
		"give the jobs a timeout: options { timeout(time: 1, unit: 'HOURS') }"},
	"showRawYaml":        {fine: true, unless: []string{"true"}, text: "bellboard plan -o yaml prints the pods, and no build's log has them"},
	"capOnlyOnAlivePods": cloudFields["capOnlyOnAlivePods"],
	"podRetention":       keepsPods,
	"nodeProperties": {text: "Bellboard's Jenkins nodes have no properties; write variables as env of the container agent into the pod template, " +
		"and let the image have tools where they are found"},
	"customWorkspaceVolumeEnabled": {fine: true, unless: []string{"true"}, text: "the plugin itself no longer reads it"},
	"inheritYamlMergeStrategy":     {fine: true, unless: []string{"true"}, text: "the templates are merged already"},
}

// A template is a pod template with all that it inherits.
type template struct {
	*object

	name, label string
	cloud       *cloud
}

// A cloud is one Kubernetes cloud.
type cloud struct {
	*object

	name, server, namespace string
	templates               []*template
	xml                     bool // of the file
}

// cloud reads a Kubernetes cloud, and resolves what its templates inherit.
func (m *migration) cloud(n *node) *cloud {
	name := "kubernetes"
	if !n.get("name").empty() {
		name = n.get("name").text
	}
	c := &cloud{object: m.object("clouds["+name+"]", n), name: name, xml: m.xml}
	c.taken["name"], c.taken["id"] = true, true
	c.server, c.namespace = c.address(), c.value("namespace")
	byName, order := map[string]*node{}, []*node{}
	if n.get("templates") != nil {
		order = n.get("templates").items
	}
	c.taken["templates"] = true
	for _, t := range order {
		if name := t.get("name"); name != nil && byName[name.text] == nil {
			byName[name.text] = t
		}
	}
	defaults := c.value("defaultsProviderTemplate")
	for i, t := range order {
		whole := m.inherit(c.at, t, byName, defaults, nil)
		name := ""
		if n := t.get("name"); n != nil {
			name = strings.TrimSpace(n.text)
		}
		o := m.object(fmt.Sprintf("%s.templates[%s]", c.at, cmp.Or(name, fmt.Sprint(i))), whole)
		for _, known := range []string{"name", "id", "inheritFrom", "yamlMergeStrategy"} {
			o.taken[known] = true
		}
		c.templates = append(c.templates, &template{object: o, name: name, label: o.value("label"), cloud: c})
	}
	return c
}

// address returns the cluster's API server; "" is the cluster in which Jenkins runs.
func (c *cloud) address() string {
	n := c.get("serverUrl")
	if n == nil {
		return ""
	}
	host := strings.TrimRight(strings.TrimPrefix(strings.TrimSpace(n.text), "https://"), "/")
	host, _, _ = strings.Cut(host, ":")
	if host == "kubernetes" || host == "kubernetes.default" || strings.HasPrefix(host, "kubernetes.default.svc") {
		return ""
	}
	return strings.TrimSpace(n.text)
}

// inherit returns a template with what the templates have that it inherits from, as the plugin combines them:
// the template's own values win, lists are joined by the names of their elements, and the YAML of all counts.
func (m *migration) inherit(at string, t *node, byName map[string]*node, defaults string, within []string) *node {
	parents := strings.Fields(defaults)
	if from := t.get("inheritFrom"); from != nil {
		parents = append(parents, strings.Fields(from.text)...)
	}
	var out *node
	own := ""
	if name := t.get("name"); name != nil {
		own = name.text
	}
	for _, name := range parents {
		switch parent := byName[name]; {
		case parent == nil:
			m.todo(fmt.Sprintf("%s.templates[%s].inheritFrom", at, own), name, "no template of this file has that name, and the plugin passes over it")
		case parent == t || slices.Contains(within, name) || len(within) > 20: // a template that inherits from itself
		default:
			out = combine(out, m.inherit(at, parent, byName, "", append(within, name)))
		}
	}
	return combine(out, t)
}

// ownFields has the fields that a template does not inherit.
var ownFields = []string{"name", "label", "id", "podRetention", "inheritFrom"}

// elementKeys has the fields by which the elements of a list are the same.
var elementKeys = map[string]string{
	"containers": "name", "volumes": "mountPath", "envVars": "key", "annotations": "key", "imagePullSecrets": "name", "ports": "name",
}

// allYAML is the field in which a template has the YAML of all that it inherits from, and its own.
const allYAML = "all yamls"

// combine returns a child with what its parent has beyond it.
func combine(parent, child *node) *node {
	out := &node{class: child.class}
	for _, n := range []*node{parent, child} {
		if n == nil {
			continue
		}
		heir := n.get("inheritYamlMergeStrategy")
		for _, name := range n.names {
			own := slices.Contains(ownFields, name) || name == "yamlMergeStrategy" && (heir == nil || heir.text != "true")
			if name != allYAML && (n == child || !own) {
				out.set(name, combined(name, out.fields[name], n.fields[name]))
			}
		}
		var texts []*node // the persisted form of yaml in old files is a list, of which the first counts
		if y := n.get("yaml"); !y.empty() {
			texts = []*node{y}
		} else if y := n.get("yamls"); y != nil && len(y.items) > 0 && !y.items[0].empty() {
			texts = y.items[:1]
			if n == parent {
				texts = y.items
			}
		}
		all := &node{list: true}
		if y := out.fields[allYAML]; y != nil {
			all.items = y.items
		}
		if inherited := n.get(allYAML); inherited != nil {
			texts = inherited.items
		}
		all.items = append(slices.Clip(all.items), texts...)
		out.set(allYAML, all)
	}
	return out
}

// combined returns a field of a child whose parent has that field, too.
func combined(name string, parent, child *node) *node {
	key := elementKeys[name]
	switch {
	case parent == nil || parent.empty():
		return child
	case child.empty(), name != "yamlMergeStrategy" && child.fields == nil && !child.list && unset(child.text),
		name == "slaveConnectTimeout" && child.text == "1000":
		return parent
	case key == "" || !child.list || !parent.list:
		return child
	}
	out := &node{list: true, items: slices.Clone(parent.items)}
	id := func(n *node) string {
		_, body := n.described()
		if k := body.get(key); k != nil {
			return k.text
		}
		return ""
	}
	for _, item := range child.items {
		i := slices.IndexFunc(out.items, func(n *node) bool { return id(n) != "" && id(n) == id(item) })
		switch {
		case i < 0:
			out.items = append(out.items, item)
		case name == "containers":
			out.items[i] = combine(out.items[i], item)
		default:
			out.items[i] = item
		}
	}
	return out
}

// variable finds the variables that configuration as code replaces. ^${x} stands for ${x} itself.
var variable = regexp.MustCompile(`\^?\$\{([^{}]*)\}`)

// resolve replaces the variables of configuration as code by their defaults. A text with a variable that has
// none is reported, and left out.
func (m *migration) resolve(at, text string) string {
	if m.xml {
		return text
	}
	missing := ""
	out := variable.ReplaceAllStringFunc(text, func(v string) string {
		inner := variable.FindStringSubmatch(v)[1]
		name, byDefault, has := strings.Cut(inner, ":-")
		switch {
		case strings.HasPrefix(v, "^"):
			return v[1:]
		case strings.HasPrefix(name, "computer."):
			return v
		case has:
			return byDefault
		}
		missing = v
		return v
	})
	if missing == "" {
		return out
	}
	m.todo(at, text, "has a variable that only Jenkins can replace; write the value of "+missing+" into the settings or the pod template")
	return ""
}
