package pool

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// Template is what a team changes of its pods: a part of a pod in YAML, laid over
// the one that Build makes by Kubernetes' strategic merge. What it does not name
// stays, containers and volumes of one name are merged, and null takes out.
type Template struct {
	File  string
	patch []byte
	root  *yaml.Node // to find lines in
}

// A TemplateMistake is one thing wrong with a template. Its text leaves the file
// out, which whoever shows it knows.
type TemplateMistake struct {
	Line   int // 0: of nothing that the file says
	Field  string
	Remedy string
}

func (m *TemplateMistake) Error() string {
	text := m.Remedy
	if m.Field != "" {
		text = m.Field + ": " + text
	}
	if m.Line > 0 {
		text = fmt.Sprintf("line %d: %s", m.Line, text)
	}
	return text
}

// ParseTemplate reads a template strictly: it names every field that a pod does
// not have. Whether the template fits a Spec only Spec.TemplateMistakes knows.
func ParseTemplate(file string, text []byte) (*Template, []error) {
	t := &Template{File: file, root: &yaml.Node{}}
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(t.root); err != nil {
		if errors.Is(err, io.EOF) {
			err = errors.New("empty; write the part of a pod that is to differ")
		}
		return nil, []error{err}
	}
	if err := in.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return nil, []error{errors.New("more than one document; leave one pod in it")}
	}
	doc, err := kyaml.YAMLToJSONStrict(text)
	if err != nil {
		return nil, []error{errors.New(strings.Join(strings.Fields(err.Error()), " "))}
	}
	var pod corev1.Pod
	unknown, err := kjson.UnmarshalStrict(doc, &pod)
	if err != nil {
		m := &TemplateMistake{Remedy: err.Error()}
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			m.Field, m.Remedy = wrong.Field, "cannot be a "+wrong.Value
			m.Line = t.line(m.Field)
		}
		return nil, []error{m}
	}
	var mistakes []error
	for _, u := range unknown {
		field := strings.Trim(strings.TrimPrefix(u.Error(), "unknown field "), `"`)
		within := "pod"
		if i := strings.LastIndex(field, "."); i > 0 {
			within += "." + indexes.ReplaceAllString(field[:i], "")
		}
		mistakes = append(mistakes, &TemplateMistake{t.line(field), field, "a pod has no such field; kubectl explain " + within + " lists those it has"})
	}
	if pod.APIVersion != "" && pod.APIVersion != "v1" || pod.Kind != "" && pod.Kind != "Pod" {
		mistakes = append(mistakes, &TemplateMistake{t.line("kind"), "kind", "a template is a Pod of v1, or leaves both out"})
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	t.patch = doc
	return t, nil
}

var indexes = regexp.MustCompile(`\[[^\]]*\]`)

// line is where the file speaks of a field, or of the nearest one that holds it: 0
// if it does not. A list's element is named by its place or by its name.
func (t *Template) line(field string) int {
	if len(t.root.Content) == 0 {
		return 0
	}
	at, line := t.root.Content[0], 0
	for _, step := range steps.FindAllString(field, -1) {
		next := (*yaml.Node)(nil)
		key := strings.Trim(step, ".[]")
		switch at.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(at.Content); i += 2 {
				if at.Content[i].Value == key {
					line, next = at.Content[i].Line, at.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			place, err := strconv.Atoi(key)
			for i, n := range at.Content {
				if err == nil && i == place || err != nil && named(n, key) {
					line, next = n.Line, n
				}
			}
		case yaml.DocumentNode, yaml.ScalarNode, yaml.AliasNode:
		}
		if next == nil {
			break
		}
		at = next
	}
	return line
}

var steps = regexp.MustCompile(`\[[^\]]*\]|\.?[^.\[\]]+`)

// named reports whether a list's element has that name, or that path to mount at.
func named(n *yaml.Node, name string) bool {
	for i := 0; i+1 < len(n.Content); i += 2 {
		if k := n.Content[i].Value; (k == "name" || k == "mountPath") && n.Content[i+1].Value == name {
			return true
		}
	}
	return false
}

// dockerParts are the containers and volumes that only agents with Docker have. A template
// that several kinds share may speak of them.
var dockerParts = map[string][]string{
	"initContainers": {dindContainer, dockerCLIContainer},
	"volumes":        {"docker-cli", dockerRunVolume, dockerDataVolume},
}

// withoutAbsent is the template without what it says of containers and volumes of Bellboard's that a
// pod does not have, and the fields that are left out.
func (t *Template) withoutAbsent(pod *corev1.Pod) (patch []byte, without []string, err error) {
	has := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		has["initContainers"+pod.Spec.InitContainers[i].Name] = true
	}
	for i := range pod.Spec.Volumes {
		has["volumes"+pod.Spec.Volumes[i].Name] = true
	}
	var doc map[string]any
	in := json.NewDecoder(bytes.NewReader(t.patch))
	in.UseNumber()
	if err := in.Decode(&doc); err != nil {
		return nil, nil, err
	}
	spec, _ := doc["spec"].(map[string]any)
	for _, list := range slices.Sorted(maps.Keys(dockerParts)) {
		items, _ := spec[list].([]any)
		left := slices.DeleteFunc(slices.Clone(items), func(item any) bool {
			fields, _ := item.(map[string]any)
			name, _ := fields["name"].(string)
			gone := slices.Contains(dockerParts[list], name) && !has[list+name]
			if gone {
				without = append(without, "spec."+list+"["+name+"]")
			}
			return gone
		})
		if len(left) < len(items) {
			spec[list] = left
		}
	}
	if len(without) == 0 {
		return t.patch, nil, nil
	}
	patch, err = json.Marshal(doc)
	return patch, without, err
}

// TemplateWithout is what the spec's template says of Docker that these agents do not have.
// They are made without it: whether another kind of agent has it, only the settings tell.
func (s Spec) TemplateWithout() []TemplateMistake {
	s = s.withDefaults()
	t := s.Template
	if t == nil {
		return nil
	}
	s.Template = nil
	_, fields, err := t.withoutAbsent(build(&s, "name"))
	if err != nil {
		return nil // TemplateMistakes says so
	}
	var out []TemplateMistake
	for _, field := range fields {
		what := "container"
		if strings.HasPrefix(field, "spec.volumes") {
			what = "volume"
		}
		out = append(out, TemplateMistake{t.line(field), field, fmt.Sprintf("the %s agents of team %s (DOCKER=%s) have no such %s", s.Kind, s.Team, s.Docker, what)})
	}
	return out
}

// merge lays the template over a pod.
func (t *Template) merge(pod *corev1.Pod) (*corev1.Pod, error) {
	was, err := json.Marshal(pod)
	if err != nil {
		return nil, err
	}
	patch, _, err := t.withoutAbsent(pod)
	if err != nil {
		return nil, err
	}
	is, err := strategicpatch.StrategicMergePatch(was, patch, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := json.Unmarshal(is, out); err != nil {
		return nil, err
	}
	// What the template adds may need Docker, and begins after it.
	place := func(c corev1.Container) int {
		if i := slices.IndexFunc(pod.Spec.InitContainers, func(was corev1.Container) bool { return was.Name == c.Name }); i >= 0 {
			return i
		}
		return len(pod.Spec.InitContainers)
	}
	slices.SortStableFunc(out.Spec.InitContainers, func(a, b corev1.Container) int { return cmp.Compare(place(a), place(b)) })
	return out, nil
}

func byName[T any](list []T, name string, nameOf func(*T) string) *T {
	for i := range list {
		if nameOf(&list[i]) == name {
			return &list[i]
		}
	}
	return nil
}
