// Package migrate makes Bellboard's settings of the agents that a Jenkins has now: of the clouds of the
// Kubernetes plugin and of the Docker plugin, and of static agents. It reads configuration as code and config.xml.
//
// Two promises hold for every file that can be read. Bellboard accepts the settings and the pod templates: the
// package loads them as the daemon does, and takes out what the daemon refuses. And no field of a cloud is lost in
// silence: a field becomes a setting or a part of a pod template, or the report says what to do about it.
//
// The package never calls Jenkins or Kubernetes, never changes its input, and never gives a build rights over a
// Kubernetes node: what needs ALLOW_HOST_DOCKER is reported, and left out. It never guesses at the value of a variable.
package migrate

import (
	"cmp"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A File is one file to read.
type File struct {
	Name string
	Text []byte
}

// A Note says what becomes of a field that is no setting.
type Note struct {
	At    string // the field's place in the file
	Value string // the field's value, if it is short
	Text  string
	Fine  bool // nothing is to be done
}

// A Result is what Migrate makes.
type Result struct {
	Notes []Note

	daemon, defaults []setting // BELLBOARD_…, BELLBOARD_DEFAULT_…
	teams            []*team
}

// migration is one Migrate under way.
type migration struct {
	xml   bool // of the file that is being read
	notes []Note
	teams []*team
}

const shortValue = 80

func (m *migration) note(n Note) {
	n.Value = strings.TrimSpace(n.Value)
	if len(n.Value) > shortValue || strings.Contains(n.Value, "\n") {
		n.Value = ""
	}
	if !slices.Contains(m.notes, n) {
		m.notes = append(m.notes, n)
	}
}

func (m *migration) todo(at, value, text string) { m.note(Note{At: at, Value: value, Text: text}) }

func (m *migration) fine(at, value, text string) {
	m.note(Note{At: at, Value: value, Text: text, Fine: true})
}

// found is what the files have.
type found struct {
	clouds   []*cloud
	location string   // Jenkins' address
	others   int      // clouds of the Docker plugin, and static agents
	foreign  []string // clouds of other plugins
	values   bool     // the file is one of values of the Jenkins chart
}

// Migrate reads files, as far as they are of the named clouds (none: of all clouds, and of static agents).
func Migrate(files []File, clouds []string) (*Result, error) {
	m, in := &migration{}, &found{}
	for _, f := range files {
		docs, isXML, err := parse(f.Text)
		if err != nil {
			return nil, fmt.Errorf("%s %w", f.Name, err)
		}
		m.xml = isXML
		for _, doc := range docs {
			if err := m.document(in, f.Name, doc, clouds); err != nil {
				return nil, err
			}
		}
	}
	if err := in.check(files, clouds); err != nil {
		return nil, err
	}
	r := &Result{}
	m.daemon(r, in)
	m.names()
	r.teams = m.teams
	if err := m.accept(r); err != nil {
		return nil, err
	}
	if len(r.teams) == 0 {
		return nil, fmt.Errorf("no team comes of %s: %s", fileNames(files), nothing(m.notes))
	}
	r.hoist()
	r.Notes = m.notes
	return r, nil
}

// The beginnings of the notes that say why a template becomes no team.
const (
	noTeam  = "becomes no team: "
	noLabel = "has no label, "
)

// nothing says why there is no team.
func nothing(notes []Note) string {
	var out []string
	for _, n := range notes {
		if strings.HasPrefix(n.Text, noTeam) || strings.HasPrefix(n.Text, noLabel) {
			out = append(out, n.At+" "+n.Text)
		}
	}
	return cmp.Or(strings.Join(out, "; "), "no pod template has a label; jobs define their pods themselves, and docs/migrate.md says what to do with these")
}

// document reads one document of a file.
func (m *migration) document(in *found, file string, doc *node, only []string) error {
	kind := doc.get("kind")
	switch {
	case kind != nil && kind.text == "List":
		if list := doc.get("items"); list != nil {
			for _, item := range list.items {
				if err := m.document(in, file, item, only); err != nil {
					return err
				}
			}
		}
		return nil
	case kind != nil && kind.text == "ConfigMap":
		return m.configMap(in, file, doc, only)
	}
	root := doc
	if j := doc.get("jenkins"); j != nil {
		root = j
	}
	for _, name := range []string{"controller", "agent", "master", "additionalAgents"} {
		in.values = in.values || doc.get(name) != nil && doc.get(name).fields != nil
	}
	if url := doc.get("unclassified", "location", "url"); url != nil {
		in.location = m.resolve("unclassified.location.url", url.text)
	}
	all := root.get("clouds")
	switch symbol, _ := root.described(); {
	case root.class != "" && strings.HasSuffix(root.class, "Cloud"): // /cloud/NAME/config.xml
		all = &node{items: []*node{root}}
	case symbol == "permanent" && root.class != "": // nodes/NAME/config.xml
		m.static(in, root)
	}
	if all != nil && len(all.items) == 0 && all.fields != nil {
		all = &node{items: []*node{all}}
	}
	if all != nil {
		for _, item := range all.items {
			m.any(in, item, only)
		}
	}
	for _, name := range []string{"nodes", "slaves"} {
		if list := root.get(name); list != nil && len(only) == 0 {
			for _, item := range list.items {
				m.static(in, item)
			}
		}
	}
	return nil
}

// configMap reads the files in a ConfigMap: the Jenkins chart keeps configuration as code in one.
func (m *migration) configMap(in *found, file string, doc *node, only []string) error {
	data := doc.get("data")
	if data == nil {
		return nil
	}
	for _, name := range data.names {
		if ext := path.Ext(name); ext != ".yaml" && ext != ".yml" {
			continue
		}
		docs, _, err := parse([]byte(data.fields[name].text))
		if err != nil {
			return fmt.Errorf("%s: %s %w", file, name, err)
		}
		for _, doc := range docs {
			if doc.get("kind") != nil { // no file of configuration as code
				continue
			}
			if err := m.document(in, file, doc, only); err != nil {
				return err
			}
		}
	}
	return nil
}

// any reads a cloud of any plugin.
func (m *migration) any(in *found, item *node, only []string) {
	symbol, body := item.described()
	name := symbol
	if n := body.get("name"); !n.empty() {
		name = n.text
	}
	if len(only) > 0 && !slices.Contains(only, name) {
		return
	}
	switch symbol {
	case "kubernetes":
		in.clouds = append(in.clouds, m.cloud(body))
	case "docker":
		in.others++
		m.docker(body, name)
	default:
		in.foreign = append(in.foreign, name)
		m.fine("clouds["+name+"]", symbol, "Bellboard does not take the place of this kind of cloud; it may stay, if its labels are its own")
	}
}

func fileNames(files []File) string {
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

// check returns the mistake of files that say nothing, or say too much for one Bellboard.
func (in *found) check(files []File, only []string) error {
	file := fileNames(files)
	switch {
	case len(in.clouds) == 0 && in.others == 0 && len(only) > 0:
		return fmt.Errorf("%s: no cloud %s; without --cloud all clouds are read", file, strings.Join(only, ", "))
	case len(in.clouds) == 0 && in.others == 0 && in.values:
		return fmt.Errorf("%s has values of a chart, and no cloud; give what the chart makes of them: kubectl -n jenkins get configmaps -l jenkins-jenkins-config=true -o yaml, "+
			"or the YAML that Jenkins shows under Manage Jenkins, Configuration as Code", file)
	case len(in.clouds) == 0 && in.others == 0 && len(in.foreign) > 0:
		return fmt.Errorf("%s has only clouds that Bellboard does not take the place of (%s), and no static agent; such clouds may stay beside Bellboard, "+
			"and docs/install.md begins without them", file, strings.Join(in.foreign, ", "))
	case len(in.clouds) == 0 && in.others == 0:
		return fmt.Errorf("%s has no cloud and no static agent; %s", file, remedy)
	}
	var servers, clusters []string
	for _, c := range in.clouds {
		if !slices.Contains(servers, c.server) {
			servers = append(servers, c.server)
		}
		clusters = append(clusters, fmt.Sprintf("%s (%s)", c.name, cmp.Or(c.server, "Jenkins' own cluster")))
	}
	if len(servers) > 1 {
		const several = "%s has clouds of %d clusters, and a Bellboard serves one; run this once for each cluster, with its clouds: --cloud %s. The clouds: %s"
		return fmt.Errorf(several, file, len(servers), in.clouds[0].name, strings.Join(clusters, ", "))
	}
	return nil
}

// placeholder is the address of Jenkins that is written if the file has none.
const placeholder = "http://jenkins.jenkins.svc:8080/"

// daemon makes the settings of the whole daemon, and the teams of the Kubernetes clouds.
func (m *migration) daemon(r *Result, in *found) {
	url, tunnel, most, capped := setting{name: "JENKINS_URL"}, setting{name: "AGENT_JENKINS_TUNNEL"}, 0, len(in.clouds) > 0
	var own []*team
	for _, c := range in.clouds {
		m.xml = c.xml
		m.first(&url, c.value("jenkinsUrl"), c.at+".jenkinsUrl")
		if c.value("webSocket") == "" {
			m.first(&tunnel, c.value("jenkinsTunnel"), c.at+".jenkinsTunnel")
		} else if t := c.value("jenkinsTunnel"); t != "" {
			m.fine(c.at+".jenkinsTunnel", t, "agents that connect by WebSocket do not use it")
		}
		n, err := strconv.Atoi(cmp.Or(c.value("containerCap", "containerCapStr"), "0"))
		if err != nil || n < 0 || n > 100_000 {
			n = 0
		}
		most, capped = most+n, capped && n > 0
		for _, t := range c.templates {
			if one := t.team(); one != nil {
				own = append(own, one)
			} else {
				t.takeAll()
			}
		}
		c.value("jnlpregistry") // a cloud without templates has not been asked for these three
		c.value("directConnection")
		c.podLabels()
		c.tell(cloudFields)
		c.rest()
	}
	m.teams = append(own, m.teams...)
	if url.value == "" {
		url.value, url.at = in.location, "unclassified.location.url"
	}
	r.daemon = append(r.daemon, url)
	if tunnel.value != "" {
		r.daemon = append(r.daemon, tunnel)
	}
	switch {
	case capped && most > 0:
		r.daemon = append(r.daemon, setting{"MAX_AGENTS", strconv.Itoa(most), "clouds.containerCap"})
		if len(in.clouds) > 1 {
			m.todo("clouds.containerCap", "", "is one limit for each cloud, and BELLBOARD_MAX_AGENTS is the sum, for all teams together; the teams' MAX_AGENTS hold each team back")
		}
	case len(in.clouds) > 0:
		m.todo("clouds.containerCap", "", fmt.Sprintf("is not set for each cloud, and Bellboard always has a limit for all teams together: BELLBOARD_MAX_AGENTS=%d, unless it is set", unlimited))
	}
}

// takeAll takes the fields of a template without a team: its heirs have them, or the plugin keeps it.
func (t *template) takeAll() {
	for _, name := range t.names {
		t.taken[name] = true
	}
}

// first keeps the first value of a setting that is one for all, and reports others.
func (m *migration) first(s *setting, value, at string) {
	switch {
	case value == "" || value == s.value:
	case s.value == "":
		s.value, s.at = value, at
	default:
		m.todo(at, value, "differs from "+s.value+", and Bellboard has one BELLBOARD_"+s.name+"; see whether all agents reach Jenkins there")
	}
}

// names gives each team a name of its own, and labels of its own.
func (m *migration) names() {
	seen, labels := map[string]bool{}, map[string]*team{}
	for _, t := range m.teams {
		base := teamName(t.name)
		for _, kind := range []string{"-ephemeral", "-persistent"} { // these would be the variables of one kind
			base = strings.TrimSuffix(base, kind)
		}
		name := base
		for i := 2; seen[name]; i++ {
			name = fmt.Sprintf("%s-%d", base, i)
		}
		seen[name], t.name = true, name
		key := sortedWords(t.get("LABELS"))
		if other := labels[key]; other != nil {
			more, old := name, t.get("LABELS")
			for i := 2; labels[sortedWords(old+" "+more)] != nil || slices.Contains(strings.Fields(old), more); i++ {
				more = fmt.Sprintf("%s-%d", base, i)
			}
			t.drop("LABELS")
			t.set("LABELS", old+" "+more, t.at+".label")
			labels[sortedWords(old+" "+more)] = t
			m.todo(t.at+".label", old, "is that of team "+other.name+", too; "+more+" is added to it, and jobs that ask for the old label get agents of both teams: "+
				"let one team be enough, or set PRIORITY")
			continue
		}
		labels[key] = t
	}
}

// sortedWords returns the words of a text in their order.
func sortedWords(text string) string {
	words := strings.Fields(text)
	slices.Sort(words)
	return strings.Join(slices.Compact(words), " ")
}

// hoist writes once for all teams what all teams have.
func (r *Result) hoist() {
	for _, name := range []string{"NAMESPACE", "CONNECT"} {
		value := r.teams[0].get(name)
		if value == "" || slices.ContainsFunc(r.teams, func(t *team) bool { return t.get(name) != value }) {
			continue
		}
		for _, t := range r.teams {
			t.drop(name)
		}
		if name == "NAMESPACE" {
			r.daemon = append(r.daemon, setting{name: name, value: value})
		} else {
			r.defaults = append(r.defaults, setting{name: name, value: value})
		}
	}
}
