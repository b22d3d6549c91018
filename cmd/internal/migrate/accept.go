package migrate

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	kyaml "sigs.k8s.io/yaml"

	"bellboard/cmd/internal/config"
	"bellboard/pool"
)

// accept takes out of the settings and the pod templates what Bellboard refuses, and reports each with
// Bellboard's own remedy, until Bellboard refuses nothing.
func (m *migration) accept(r *Result) error {
	lists := [][]setting{r.daemon}
	for _, t := range r.teams {
		lists = append(lists, t.settings)
	}
	for _, list := range lists {
		for i := range list {
			list[i].value = strings.ReplaceAll(list[i].value, "\x00", "\ufffd") // no variable can hold a zero byte
		}
	}
	for {
		if len(r.teams) == 0 {
			return nil
		}
		loaded, err := config.Load(r.environ("", false), config.WithoutJenkins())
		if err == nil {
			return m.templates(r, loaded)
		}
		var mistakes config.Mistakes
		if !errors.As(err, &mistakes) {
			return err
		}
		dropped := false
		for _, one := range mistakes {
			dropped = m.refused(r, one) || dropped
		}
		if !dropped {
			return fmt.Errorf("these settings are a mistake of bellboard migrate itself: %w", err)
		}
	}
}

// refused takes a setting out that Bellboard refuses.
func (m *migration) refused(r *Result, mistake config.Mistake) bool {
	drop := func(list *[]setting, prefix string) bool {
		for i, s := range *list {
			if prefix+s.name == mistake.Variable {
				m.todo(s.at, s.value, "is left out: "+mistake.Remedy)
				*list = slices.Delete(*list, i, i+1)
				return true
			}
		}
		return false
	}
	if mistake.Variable == "BELLBOARD_JENKINS_URL" {
		for i, s := range r.daemon {
			if s.name == "JENKINS_URL" && s.value != placeholder {
				if s.value != "" {
					m.todo(s.at, s.value, "is left out: "+mistake.Remedy)
				}
				m.todo("clouds.jenkinsUrl", "", "is not set; correct BELLBOARD_JENKINS_URL="+placeholder)
				r.daemon[i] = setting{"JENKINS_URL", placeholder, s.at}
				return true
			}
		}
	}
	if drop(&r.daemon, "BELLBOARD_") {
		return true
	}
	for _, t := range r.teams {
		if drop(&t.settings, t.prefix()) {
			return true
		}
	}
	for i, t := range r.teams { // what is missing, or names that exclude one another
		if strings.HasPrefix(mistake.Variable, t.prefix()) || mistake.Variable == "BELLBOARD_TEAMS" && i == len(r.teams)-1 {
			m.todo(t.at, "", noTeam+mistake.Variable+" "+mistake.Remedy)
			r.teams = slices.Delete(r.teams, i, i+1)
			return true
		}
	}
	return false
}

// templates takes out of the pod templates what Bellboard refuses.
func (m *migration) templates(r *Result, loaded *config.Config) error {
	for _, t := range r.teams {
		if err := m.prune(t, loaded.PoolSpecs()); err != nil {
			return err
		}
	}
	return nil
}

func (m *migration) prune(t *team, specs []pool.Spec) error {
	for {
		text := t.yaml()
		if text == "" {
			return nil
		}
		parsed, mistakes := pool.ParseTemplate(t.file(), []byte(text))
		for _, spec := range specs {
			if parsed != nil && spec.Team == t.name {
				spec.Template = parsed
				mistakes = append(mistakes, spec.TemplateMistakes()...)
				for _, lack := range spec.TemplateWithout() {
					mistakes = append(mistakes, &lack)
				}
			}
		}
		if len(mistakes) == 0 {
			return nil
		}
		for _, one := range mistakes {
			field := remove(t.template, one.Field)
			if field == "" { // the whole template cannot be read
				t.template, field = map[string]any{}, "the whole template"
			}
			m.todo(t.at, "", field+" is left out of the pod template: "+one.Remedy)
		}
	}
}

var step = regexp.MustCompile(`[^.\[\]]+|\[[^\]]*\]`)

// remove takes a field out of a template, or what is there of the fields around it. It returns what it took out.
func remove(template map[string]any, field string) string {
	steps := step.FindAllString(field, -1)
	for ; len(steps) > 0; steps = steps[:len(steps)-1] {
		if len(steps) > 3 && steps[1] == "volumes" {
			continue // half a volume is none
		}
		if without(template, steps) {
			return strings.ReplaceAll(strings.Join(steps, "."), ".[", "[")
		}
	}
	return ""
}

// without removes what is at the end of the steps, and reports whether it was there.
func without(at any, steps []string) bool {
	o, ok := at.(map[string]any)
	name := strings.Trim(steps[0], "[]")
	value, has := o[name]
	if !ok || !has {
		return false
	}
	if len(steps) == 1 {
		delete(o, name)
		return true
	}
	list, is := value.([]any)
	if !is {
		return without(value, steps[1:])
	}
	i := element(list, strings.Trim(steps[1], "[]"))
	switch {
	case i < 0:
		return false
	case len(steps) > 2:
		return without(list[i], steps[2:])
	}
	gone := list[i]
	if o[name] = slices.Delete(slices.Clone(list), i, i+1); len(list) == 1 {
		delete(o, name)
	}
	if name == "volumes" {
		mounts(o, gone)
	}
	return true
}

// element finds an element of a list by its name, its mount path or its index.
func element(list []any, key string) int {
	for i, e := range list {
		if o, ok := e.(map[string]any); ok && (o["name"] == key || o["mountPath"] == key) {
			return i
		}
	}
	if i, err := strconv.Atoi(key); err == nil && i >= 0 && i < len(list) {
		return i
	}
	return -1
}

// mounts removes the mounts of a volume that is gone.
func mounts(spec map[string]any, volume any) {
	gone, _ := volume.(map[string]any)
	if gone["name"] == "workspace" { // Bellboard's own is there still
		return
	}
	for _, kind := range []string{"containers", "initContainers"} {
		list, _ := spec[kind].([]any)
		for _, c := range list {
			c, _ := c.(map[string]any)
			all, _ := c["volumeMounts"].([]any)
			all = slices.DeleteFunc(slices.Clone(all), func(m any) bool {
				o, ok := m.(map[string]any)
				return ok && o["name"] == gone["name"]
			})
			if delete(c, "volumeMounts"); len(all) > 0 {
				c["volumeMounts"] = all
			}
		}
	}
}

// yaml returns the pod template as a file, or "".
func (t *team) yaml() string {
	tidy(t.template)
	if len(t.template) == 0 {
		return ""
	}
	text, err := kyaml.Marshal(t.template)
	if err != nil {
		panic("migrate: a pod template that YAML cannot hold: " + err.Error())
	}
	return string(text)
}

// tidy removes objects and lists that have become empty, and an agent's container without a change. An empty
// directory is no empty object.
func tidy(at map[string]any) {
	for name, value := range at {
		switch v := value.(type) {
		case map[string]any:
			if tidy(v); len(v) == 0 && name != "emptyDir" {
				delete(at, name)
			}
		case []any:
			kept := []any{}
			for _, e := range v {
				if o, ok := e.(map[string]any); ok {
					if tidy(o); len(o) == 0 || name == "containers" && len(o) == 1 {
						continue
					}
				}
				kept = append(kept, e)
			}
			if at[name] = kept; len(kept) == 0 {
				delete(at, name)
			}
		}
	}
}
