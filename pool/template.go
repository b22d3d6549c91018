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
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	kjson "sigs.k8s.io/json"
	kyaml "sigs.k8s.io/yaml"
)

// Template is a part of a pod in YAML, by which a team changes its pods. Kubernetes' strategic merge applies
// the template to the pod that Build makes. Fields that the template does not name stay. Containers and
// volumes of one name are merged. null removes a field.
type Template struct {
	File  string
	patch object
	root  *yaml.Node // has the numbers of lines
}

// A TemplateMistake is one mistake in a template. The mistake's text does not name the file, which the caller
// knows.
type TemplateMistake struct {
	Line   int // 0: no line of the file has the field
	Field  string
	Remedy string
}

// Error returns the line, the field and the remedy.
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

// ParseTemplate reads a template, and reports every field that a pod does not have. Spec.TemplateMistakes
// then checks the template against a Spec.
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
		remedy := "a pod has no such field; kubectl explain " + within + " lists those it has"
		mistakes = append(mistakes, &TemplateMistake{t.line(field), field, remedy})
	}
	if pod.APIVersion != "" && pod.APIVersion != "v1" || pod.Kind != "" && pod.Kind != "Pod" {
		remedy := "a template is a Pod of v1, or leaves both out"
		mistakes = append(mistakes, &TemplateMistake{t.line("kind"), "kind", remedy})
	}
	if len(mistakes) > 0 {
		return nil, mistakes
	}
	if err := kjson.UnmarshalCaseSensitivePreserveInts(doc, &t.patch); err != nil {
		return nil, []error{err}
	}
	return t, nil
}

var (
	indexes = regexp.MustCompile(`\[[^\]]*\]`)
	steps   = regexp.MustCompile(`\[[^\]]*\]|\.?[^.\[\]]+`)
)

// line returns the line of the file that has a field, or else the line of the innermost field around it; 0:
// none. An element of a list is given by its index or by its name.
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
			index, err := strconv.Atoi(key)
			for i, n := range at.Content {
				if err == nil && i == index || err != nil && hasName(n, key) {
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

// hasName reports whether an element of a list has that name, or that mount path.
func hasName(n *yaml.Node, name string) bool {
	var element struct {
		Name      string
		MountPath string `yaml:"mountPath"`
	}
	return n.Decode(&element) == nil && (element.Name == name || element.MountPath == name)
}

// dockerParts has the containers and volumes that only agents with Docker have. A template that several kinds
// share may name them.
var dockerParts = map[string][]string{
	"initContainers": {dindContainer, dockerCLIContainer},
	"volumes":        {"docker-cli", dockerRunVolume, dockerDataVolume},
}

// withoutAbsent returns the template without those Docker parts that the pod does not have, and the names of
// the fields that were removed.
func (t *Template) withoutAbsent(pod object) (patch object, removed []string) {
	patch = runtime.DeepCopyJSON(t.patch) // the merge changes its arguments
	spec, has := as[object](patch["spec"]), as[object](pod["spec"])
	for _, list := range slices.Sorted(maps.Keys(dockerParts)) {
		items := as[[]any](spec[list])
		left := slices.DeleteFunc(slices.Clone(items), func(item any) bool {
			name := as[string](as[object](item)["name"])
			same := func(own any) bool { return as[object](own)["name"] == name }
			absent := slices.Contains(dockerParts[list], name) && !slices.ContainsFunc(as[[]any](has[list]), same)
			if absent {
				removed = append(removed, "spec."+list+"["+name+"]")
			}
			return absent
		})
		if len(left) < len(items) {
			spec[list] = left
		}
	}
	return patch, removed
}

// TemplateWithout returns the parts of the spec's template that are for Docker, if these agents have none.
// Bellboard makes the agents without these parts. Only the settings tell whether agents of another kind have
// them.
func (s Spec) TemplateWithout() []TemplateMistake {
	s = s.withDefaults()
	if s.Template == nil {
		return nil
	}
	_, fields := s.Template.withoutAbsent(fieldsOf(plainPod(&s, "name")))
	var out []TemplateMistake
	for _, field := range fields {
		what := "container"
		if strings.HasPrefix(field, "spec.volumes") {
			what = "volume"
		}
		out = append(out, TemplateMistake{s.Template.line(field), field, s.agents() + " have no such " + what})
	}
	return out
}

// agents names the spec's agents.
func (s *Spec) agents() string {
	return fmt.Sprintf("the %s agents of team %s (DOCKER=%s)", s.Kind, s.Team, s.Docker)
}

// merge applies the template to a pod.
func (t *Template) merge(pod *corev1.Pod) (*corev1.Pod, error) {
	fields := fieldsOf(pod)
	patch, _ := t.withoutAbsent(fields)
	merged, err := strategicpatch.StrategicMergeMapPatch(fields, patch, corev1.Pod{})
	if err != nil {
		return nil, err
	}
	out := &corev1.Pod{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(merged, out); err != nil {
		return nil, err
	}
	// A container that the template adds may need Docker, so it starts after Bellboard's own.
	rank := func(c corev1.Container) int {
		own := func(o corev1.Container) bool { return o.Name == c.Name }
		if i := slices.IndexFunc(pod.Spec.InitContainers, own); i >= 0 {
			return i
		}
		return len(pod.Spec.InitContainers)
	}
	slices.SortStableFunc(out.Spec.InitContainers, func(a, b corev1.Container) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return out, nil
}

// fieldsOf returns the pod as JSON has it.
func fieldsOf(pod *corev1.Pod) object {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		panic("pool: an API object that JSON cannot hold: " + err.Error())
	}
	return fields
}
