package migrate

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// A node is a value of a file: a text, an object with named fields, or a list. Both forms of file become nodes
// with the names that configuration as code has.
type node struct {
	text   string
	class  string // of an object in XML: its Java class
	names  []string
	fields map[string]*node // nil: no object
	items  []*node
	list   bool
}

// The most that a file may hold: each is far beyond a real file, and keeps a wrong file from using up the memory.
const (
	mostBytes = 64 << 20
	mostDepth = 100
	mostNodes = 500_000
)

// set adds a field, or puts a new value in its place.
func (n *node) set(name string, value *node) {
	if n.fields == nil {
		n.fields = map[string]*node{}
	}
	if n.fields[name] == nil {
		n.names = append(n.names, name)
	}
	n.fields[name] = value
}

// get returns what is at a path of fields, or nil.
func (n *node) get(path ...string) *node {
	for _, name := range path {
		if n == nil {
			return nil
		}
		n = n.fields[name]
	}
	return n
}

// empty reports whether the node says nothing.
func (n *node) empty() bool {
	return n == nil || n.text == "" && len(n.names) == 0 && len(n.items) == 0
}

// described returns the symbol of an object that may be of several kinds, and the object: {nfsVolume: {…}}, or
// "never", or the class of an element in XML.
func (n *node) described() (symbol string, body *node) {
	switch {
	case n.class != "":
		return symbolOf(n.class), n
	case n.fields == nil:
		return n.text, &node{}
	case len(n.names) == 1 && n.fields[n.names[0]].text == "" && !n.fields[n.names[0]].list:
		return n.names[0], n.fields[n.names[0]]
	}
	return "", n
}

// symbolOf returns the name in configuration as code of a class in XML, such as envVar for KeyValueEnvVar.
func symbolOf(class string) string {
	class = strings.NewReplacer("_-", ".", "__", "_", "$", ".").Replace(class)
	name := class[strings.LastIndex(class, ".")+1:]
	switch name {
	case "KubernetesCloud", "DockerCloud", "EC2Cloud", "AzureVMCloud":
		return strings.ToLower(strings.TrimSuffix(name, "Cloud"))
	case "DumbSlave":
		return "permanent"
	case "Overrides":
		return "override"
	case "":
		return ""
	}
	return strings.ToLower(name[:1]) + name[1:]
}

// errTooMuch is the mistake of a file that is none of Jenkins'.
var errTooMuch = fmt.Errorf("has more than %d values, or values within more than %d others; %s", mostNodes, mostDepth, remedy)

// remedy says which files the command reads.
const remedy = "give Jenkins' config.xml, or the YAML that Jenkins shows under Manage Jenkins, Configuration as Code, View Configuration"

// parse reads a file. A YAML file may have several documents.
func parse(text []byte) (docs []*node, isXML bool, err error) {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	switch {
	case len(text) > mostBytes:
		return nil, false, fmt.Errorf("has more than %d MB; %s", mostBytes>>20, remedy)
	case !utf8.Valid(text) || bytes.IndexByte(text, 0) >= 0:
		return nil, false, errors.New("is no text in UTF-8; " + remedy)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, false, errors.New("is empty; " + remedy)
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("<")):
		root, err := parseXML(text)
		return []*node{root}, true, err
	}
	docs, err = parseYAML(text)
	return docs, false, err
}

func parseYAML(text []byte) (docs []*node, err error) {
	in, left := yaml.NewDecoder(bytes.NewReader(text)), mostNodes
	for {
		var doc yaml.Node
		if err := in.Decode(&doc); errors.Is(err, io.EOF) {
			return docs, nil
		} else if err != nil {
			return nil, fmt.Errorf("is no YAML (%s); %s", oneLine(err), remedy)
		}
		n, err := fromYAML(&doc, mostDepth, &left)
		if err != nil {
			return nil, err
		}
		docs = append(docs, n)
	}
}

func fromYAML(y *yaml.Node, depth int, left *int) (*node, error) {
	for y.Kind == yaml.AliasNode {
		y = y.Alias
	}
	if *left--; depth == 0 || *left < 0 {
		return nil, errTooMuch
	}
	n := &node{}
	switch y.Kind {
	case yaml.DocumentNode:
		return fromYAML(y.Content[0], depth-1, left)
	case yaml.MappingNode:
		n.fields = map[string]*node{}
		merged := []*yaml.Node{} // the values of <<, which set what nothing else sets
		for i := 0; i+1 < len(y.Content); i += 2 {
			key, value := y.Content[i], y.Content[i+1]
			if key.Tag == "!!merge" || key.Value == "<<" && key.Style == 0 {
				merged = append(merged, value)
				continue
			}
			if n.fields[key.Value] != nil {
				return nil, fmt.Errorf("line %d has %s a second time; leave one of the two out", key.Line, key.Value)
			}
			child, err := fromYAML(value, depth-1, left)
			if err != nil {
				return nil, err
			}
			n.set(key.Value, child)
		}
		for _, value := range merged {
			other, err := fromYAML(value, depth-1, left)
			if err != nil {
				return nil, err
			}
			for _, from := range append([]*node{other}, other.items...) {
				for _, name := range from.names {
					if n.fields[name] == nil {
						n.set(name, from.fields[name])
					}
				}
			}
		}
	case yaml.SequenceNode:
		n.list = true
		for _, item := range y.Content {
			child, err := fromYAML(item, depth-1, left)
			if err != nil {
				return nil, err
			}
			n.items = append(n.items, child)
		}
	default:
		if y.Tag != "!!null" {
			n.text = y.Value
		}
	}
	return n, nil
}

var (
	declaration = regexp.MustCompile(`^\s*<\?xml[^>]*\?>`)
	encoding    = regexp.MustCompile(`encoding=["']([^"']+)["']`)
	// controls are references to control characters, which XML 1.1 allows and XML 1.0 does not.
	controls = regexp.MustCompile(`(?i)&#(x0*([1-8bcef]|1[0-9a-f])|0*([1-8]|1[124-9]|2[0-9]|3[01]));`)
)

// elements are the names of elements of a list in XML, beside classes.
var elements = []string{"string", "entry", "slave"}

// parseXML reads XML 1.0 and 1.1. Jenkins writes 1.1, which encoding/xml refuses. The two differ in what a file
// of settings hardly has: control characters.
func parseXML(text []byte) (*node, error) {
	head := declaration.Find(text)
	if e := encoding.FindSubmatch(head); e != nil && !strings.EqualFold(string(e[1]), "UTF-8") && !strings.EqualFold(string(e[1]), "US-ASCII") {
		return nil, fmt.Errorf("is XML in %s; convert it: iconv -f %[1]s -t UTF-8, and write UTF-8 into its first line", e[1])
	}
	in := xml.NewDecoder(bytes.NewReader(controls.ReplaceAll(text[len(head):], []byte("\ufffd"))))
	stack, left := []*node{{}}, mostNodes
	var root *node
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			if root == nil {
				return nil, errors.New("is XML without an element; " + remedy)
			}
			return root, nil
		} else if err != nil {
			return nil, fmt.Errorf("is no XML that can be read (%s); %s", oneLine(err), remedy)
		}
		top := stack[len(stack)-1]
		switch token := token.(type) {
		case xml.StartElement:
			if left--; left < 0 || len(stack) > mostDepth {
				return nil, errTooMuch
			}
			n := &node{}
			if i := slices.IndexFunc(token.Attr, func(a xml.Attr) bool { return a.Name.Local == "class" }); i >= 0 {
				n.class = token.Attr[i].Value
			}
			name := token.Name.Local
			if strings.Contains(name, ".") {
				n.class = name
			}
			if name == "slave" && n.class == "" {
				n.class = "hudson.slaves.DumbSlave"
			}
			if n.class == name || slices.Contains(elements, name) {
				top.items, top.list = append(top.items, n), top.fields == nil
			} else {
				top.set(name, n)
			}
			if root == nil {
				root = n
			}
			stack = append(stack, n)
		case xml.CharData:
			top.text += string(token)
		case xml.EndElement:
			if top.fields != nil || top.list {
				top.text = "" // the blanks between elements
			}
			stack = stack[:len(stack)-1]
		}
	}
}

// oneLine returns the text of another library's error in one line.
func oneLine(err error) string {
	return strings.TrimPrefix(strings.Join(strings.Fields(err.Error()), " "), "yaml: ")
}
