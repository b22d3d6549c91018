package config

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"bellboard/pool"
	"bellboard/scaler"
)

// longestTeam leaves room for the kind and the random part in the name of an agent.
const longestTeam = 40

// The types here have their own Decode: envconfig's lists keep blanks and empty parts, and its maps are split
// at colons. An error of Decode is a remedy: people read it after the variable and its value.

// Words is a list separated by commas or white space.
type Words []string

// Decode reads the list, without its empty parts.
func (w *Words) Decode(s string) error {
	*w = strings.Fields(strings.ReplaceAll(s, ",", " "))
	if len(*w) == 0 {
		return errors.New("an empty list; name at least one")
	}
	return nil
}

func (w Words) String() string { return strings.Join(w, ",") }

// check checks that the words can name teams, and that each team has its own variables.
func (w Words) check() string {
	seen := map[string]string{}
	for _, n := range w {
		switch other, twice := seen[envName(n)]; {
		case twice && other == n:
			return fmt.Sprintf("names %s twice; drop one", n)
		case twice:
			return fmt.Sprintf("teams %s and %s would share the variables %s%s_…; rename one", other, n, teamPrefix, envName(n))
		case len(validation.IsDNS1123Label(n)) > 0:
			return fmt.Sprintf("%q cannot name a team; write lower-case letters, digits and dashes, a letter or digit first and last", n)
		case len(n) > longestTeam:
			return fmt.Sprintf("%q is longer than %d characters; shorten it", n, longestTeam)
		}
		seen[envName(n)] = n
	}
	return ""
}

// Labels is a list separated by white space only, as Jenkins separates the labels of a Jenkins node. In
// Jenkins a comma is a part of a label.
type Labels []string

// Decode reads the list.
func (l *Labels) Decode(s string) error {
	*l = strings.Fields(s)
	return nil
}

func (l Labels) String() string { return strings.Join(l, " ") }

// check checks that each label is a plain atom of Jenkins' label grammar, which a job can name without
// quotes.
func (l Labels) check() string {
	for _, one := range l {
		if strings.Contains(one, ",") {
			apart := Labels(strings.Fields(strings.ReplaceAll(l.String(), ",", " "))).String()
			return fmt.Sprintf("%q is one label in Jenkins, with its comma; write blanks between labels: %s",
				one, cmp.Or(apart, "linux docker"))
		}
		if strings.ContainsAny(one, `&|!<>()"'`) || strings.Contains(one, "->") {
			return fmt.Sprintf("%q is no plain label in Jenkins' grammar; leave out & | ! < > ( ) \" ' and ->", one)
		}
		if one == string(scaler.Ephemeral) || one == string(scaler.Persistent) {
			return fmt.Sprintf("Bellboard adds %q to the agents of that kind; leave it out, and set MODE if the team is to have no other kind", one)
		}
	}
	return ""
}

// Pairs is a list of key=value, as in the node selector of a pod.
type Pairs map[string]string

// Decode reads the list. The list replaces what was there before.
func (p *Pairs) Decode(s string) error {
	var parts Words
	if err := parts.Decode(s); err != nil {
		return err
	}
	set, err := labels.ConvertSelectorToLabelsMap(parts.String())
	if err != nil {
		return errors.New("not pairs of a node label and its value; write key=value,key=value")
	}
	*p = Pairs(set)
	return nil
}

func (p Pairs) String() string { return labels.Set(p).String() }

func (p Pairs) check() string { return pool.NotLinux(p) }

// Tolerations is a list of key[=value][:Effect]. Without a value the pod tolerates every value of the taint,
// without an effect every effect.
type Tolerations []corev1.Toleration

// Decode reads the list.
func (t *Tolerations) Decode(s string) error {
	var parts Words
	if err := parts.Decode(s); err != nil {
		return err
	}
	*t = nil
	for _, part := range parts {
		taint, effect, hasEffect := strings.Cut(part, ":")
		key, value, hasValue := strings.Cut(taint, "=")
		one := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(effect)}
		if hasValue {
			one.Operator, one.Value = corev1.TolerationOpEqual, value
		}
		effects := []string{"NoSchedule", "PreferNoSchedule", "NoExecute"}
		if len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 ||
			hasEffect && !slices.Contains(effects, effect) {
			return errors.New("not tolerations; write key=value:Effect,key:Effect with NoSchedule, PreferNoSchedule or NoExecute as Effect")
		}
		*t = append(*t, one)
	}
	return nil
}

func (t Tolerations) String() string {
	var parts []string
	for _, one := range t {
		part := one.Key
		if one.Operator == corev1.TolerationOpEqual {
			part += "=" + one.Value
		}
		if one.Effect != "" {
			part += ":" + string(one.Effect)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// short returns a duration as people write it: 1m, not 1m0s.
func short(d time.Duration) string {
	return strings.NewReplacer("h0m0s", "h", "m0s", "m").Replace(d.String())
}
