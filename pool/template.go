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
// the template to the pod that Build makes: fields that the template does not name stay, containers and
// volumes of one name are merged, and null removes a field.
type Template struct {
	File  string
	patch object
	lines map[string]int // by field: the line of the file that has the field
}

// A TemplateMistake is one mistake in a template. Its text does not name the file, which the caller knows.
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

// ParseTemplate reads a template, and reports every field that a pod does not have.
func ParseTemplate(file string, text []byte) (*Template, []*TemplateMistake) {
	fail := func(remedy string) (*Template, []*TemplateMistake) {
		return nil, []*TemplateMistake{{Remedy: remedy}}
	}
	t, root := &Template{File: file, lines: map[string]int{}}, &yaml.Node{}
	in := yaml.NewDecoder(bytes.NewReader(text))
	if err := in.Decode(root); errors.Is(err, io.EOF) {
		return fail("empty; write the part of a pod that is to differ")
	} else if err != nil {
		return fail(err.Error())
	}
	if err := in.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		return fail("more than one document; leave one pod in it")
	}
	doc, err := kyaml.YAMLToJSONStrict(text)
	if err != nil {
		return fail(strings.Join(strings.Fields(err.Error()), " "))
	}
	t.note("", root)
	var pod corev1.Pod
	unknown, err := kjson.UnmarshalStrict(doc, &pod)
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return nil, []*TemplateMistake{{t.line(wrong.Field), wrong.Field, "cannot be a " + wrong.Value}}
	}
	if err != nil {
		return fail(err.Error())
	}
	var mistakes []*TemplateMistake
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
		return fail(err.Error())
	}
	return t, nil
}

var indexes = regexp.MustCompile(`\[[^\]]*\]`)

// note notes the lines of all fields within a field. An element of a list is known by its index, and by its
// name or its mount path.
func (t *Template) note(field string, n *yaml.Node) {
	add := func(key string, line int, value *yaml.Node) {
		at := field + "." + key
		t.lines[at] = line
		t.note(at, value)
	}
	if n.Kind == yaml.DocumentNode {
		t.note(field, n.Content[0])
	}
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		add(n.Content[i].Value, n.Content[i].Line, n.Content[i+1])
	}
	for i := 0; n.Kind == yaml.SequenceNode && i < len(n.Content); i++ {
		var element struct {
			Name string
			Path string `yaml:"mountPath"`
		}
		_ = n.Content[i].Decode(&element) // what has neither is known by its index
		for _, key := range []string{strconv.Itoa(i), element.Name, element.Path} {
			add(key, n.Content[i].Line, n.Content[i])
		}
	}
}

// line returns the line of the file that has a field, or the innermost field around it; 0: none.
func (t *Template) line(field string) int {
	field = "." + strings.NewReplacer("[", ".", "]", "").Replace(field)
	for t.lines[field] == 0 && field != "" {
		field = field[:max(0, strings.LastIndex(field, "."))]
	}
	return t.lines[field]
}

// dockerParts has the containers and volumes that only agents with Docker have.
var dockerParts = map[string][]string{
	"initContainers": {dindContainer, dockerCLIContainer},
	"volumes":        {dockerCLIContainer, dockerRunVolume, dockerDataVolume},
}

// withoutAbsent returns the template without the Docker parts that the pod does not have, and their fields.
func (t *Template) withoutAbsent(pod object) (patch object, removed []string) {
	patch = runtime.DeepCopyJSON(t.patch) // the merge changes its arguments
	spec, has := as[object](patch["spec"]), as[object](pod["spec"])
	for _, list := range slices.Sorted(maps.Keys(dockerParts)) {
		items := slices.DeleteFunc(as[[]any](spec[list]), func(item any) bool {
			name := as[string](as[object](item)["name"])
			same := func(own any) bool { return as[object](own)["name"] == name }
			absent := slices.Contains(dockerParts[list], name) && !slices.ContainsFunc(as[[]any](has[list]), same)
			if absent {
				removed = append(removed, "spec."+list+"["+name+"]")
			}
			return absent
		})
		if items != nil {
			spec[list] = items
		}
	}
	return patch, removed
}

// TemplateWithout returns the parts of the spec's template that are for Docker, if these agents have none.
// The agents are made without these parts. Agents of another kind, which share the template, may have them.
func (s Spec) TemplateWithout() []TemplateMistake {
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
		return cmp.Or(slices.IndexFunc(pod.Spec.InitContainers, own)+1, len(pod.Spec.InitContainers)+1)
	}
	slices.SortStableFunc(out.Spec.InitContainers, func(a, b corev1.Container) int {
		return cmp.Compare(rank(a), rank(b))
	})
	return out, nil
}

// fieldsOf returns an object or a part of one as JSON has it.
func fieldsOf(o any) object {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		panic("pool: an API object that JSON cannot hold: " + err.Error())
	}
	return fields
}
