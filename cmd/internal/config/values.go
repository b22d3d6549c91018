package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"

	"bellboard/pool"
	"bellboard/scaler"
)

// longestTeam leaves room for the kind and the random part in the name of an agent.
const longestTeam = 40

// The types here have their own Decode. envconfig's lists keep blanks and empty parts, its maps are split at
// colons, and envconfig ignores a resource.Quantity. An error of Decode is a remedy: people read it after the
// variable and its value.

// Words is a list separated by commas or white space.
type Words []string

// Decode reads the list, without its empty parts.
func (w *Words) Decode(s string) error {
	*w = strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' || r == '\n' || r == '\r' })
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
			apart := Labels(strings.Fields(strings.ReplaceAll(l.String(), ",", " ")))
			if len(apart) == 0 {
				apart = Labels{"linux", "docker"}
			}
			return fmt.Sprintf("%q is one label in Jenkins, with its comma; write blanks between labels: %s", one, apart)
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

// Quantity is an amount in Kubernetes' notation, above zero.
type Quantity struct{ resource.Quantity }

// Decode reads the amount.
func (q *Quantity) Decode(s string) error {
	v, err := resource.ParseQuantity(strings.TrimSpace(s))
	if err != nil {
		return errors.New("not an amount; write e.g. 500m, 2 or 4Gi")
	}
	if v.Sign() <= 0 {
		return errors.New("must be more than 0")
	}
	q.Quantity = v
	return nil
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
	var out Tolerations
	for _, part := range parts {
		taint, effect, hasEffect := strings.Cut(part, ":")
		key, value, hasValue := strings.Cut(taint, "=")
		one := corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffect(effect)}
		if hasValue {
			one.Operator, one.Value = corev1.TolerationOpEqual, value
		}
		effects := []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}
		if len(validation.IsQualifiedName(key)) > 0 || len(validation.IsValidLabelValue(value)) > 0 ||
			hasEffect && !slices.Contains(effects, one.Effect) {
			return errors.New("not tolerations; write key=value:Effect,key:Effect with NoSchedule, PreferNoSchedule or NoExecute as Effect")
		}
		out = append(out, one)
	}
	*t = out
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
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
