package grafana

// What of Grafana's Classic schema the dashboard uses, and nothing else.

// Dashboard is a dashboard as Grafana imports it.
type Dashboard struct {
	UID           string      `json:"uid"`
	Title         string      `json:"title"`
	Description   string      `json:"description"`
	Tags          []string    `json:"tags"`
	SchemaVersion int         `json:"schemaVersion"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"` // 1: one crosshair over all panels
	Refresh       string      `json:"refresh"`
	Time          Span        `json:"time"`
	Links         []Link      `json:"links"`
	Annotations   Annotations `json:"annotations"`
	Templating    Templating  `json:"templating"`
	Panels        []Panel     `json:"panels"`
}

// Span is the time shown at first.
type Span struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Link leads from the dashboard or a panel to a page.
type Link struct {
	Title       string   `json:"title"`
	URL         string   `json:"url"`
	Type        string   `json:"type"`
	Icon        string   `json:"icon"`
	Tooltip     string   `json:"tooltip"`
	Tags        []string `json:"tags"`
	TargetBlank bool     `json:"targetBlank"`
	AsDropdown  bool     `json:"asDropdown"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
}

// Annotations holds the dashboard's annotations.
type Annotations struct {
	List []Annotation `json:"list"`
}

// Annotation marks the times at which a query has an answer.
type Annotation struct {
	Name       string `json:"name"`
	Datasource Source `json:"datasource"`
	Enable     bool   `json:"enable"`
	IconColor  string `json:"iconColor"`
	Target     Target `json:"target"`
	TitleText  string `json:"titleFormat"`
	Text       string `json:"textFormat"`
}

// Templating holds the dashboard's variables.
type Templating struct {
	List []Variable `json:"list"`
}

// Variable is what people choose at the top of the dashboard, or once in its settings.
type Variable struct {
	Name        string  `json:"name"`
	Label       string  `json:"label"`
	Description string  `json:"description"`
	Type        string  `json:"type"`
	Query       any     `json:"query"`
	Definition  string  `json:"definition,omitempty"`
	Datasource  *Source `json:"datasource,omitempty"`
	Hide        int     `json:"hide,omitempty"`
	Multi       bool    `json:"multi,omitempty"`
	IncludeAll  bool    `json:"includeAll,omitempty"`
	AllValue    string  `json:"allValue,omitempty"`
	Refresh     int     `json:"refresh,omitempty"` // 2: as the time shown changes
	Sort        int     `json:"sort,omitempty"`
	Current     *Choice `json:"current,omitempty"`
}

// Choice is a variable's value.
type Choice struct {
	Text  any `json:"text"`
	Value any `json:"value"`
}

// Source names the data source of a panel.
type Source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

// Panel is one panel, or the line above a row of them.
type Panel struct {
	ID          int          `json:"id"`
	Type        string       `json:"type"`
	Title       string       `json:"title"`
	Description string       `json:"description,omitempty"`
	GridPos     Grid         `json:"gridPos"`
	Datasource  *Source      `json:"datasource,omitempty"`
	Links       []Link       `json:"links,omitempty"`
	Targets     []Target     `json:"targets,omitempty"`
	FieldConfig *FieldConfig `json:"fieldConfig,omitempty"`
	Options     object       `json:"options,omitempty"`
	Collapsed   *bool        `json:"collapsed,omitempty"`
	Panels      *[]Panel     `json:"panels,omitempty"`
}

// Grid is where a panel stands, on a grid 24 wide.
type Grid struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

// Target is one query.
type Target struct {
	RefID      string `json:"refId"`
	Datasource Source `json:"datasource"`
	Expr       string `json:"expr"`
	Legend     string `json:"legendFormat,omitempty"`
	Format     string `json:"format,omitempty"`
	Interval   string `json:"interval,omitempty"`
	Instant    bool   `json:"instant"`
	Range      bool   `json:"range"`
	Editor     string `json:"editorMode"`
}

// FieldConfig says how values are written and drawn.
type FieldConfig struct {
	Defaults  Field      `json:"defaults"`
	Overrides []Override `json:"overrides"`
}

// Field is the part of FieldConfig that holds for every series.
type Field struct {
	Unit       string      `json:"unit"`
	Min        *float64    `json:"min,omitempty"`
	Max        *float64    `json:"max,omitempty"`
	NoValue    string      `json:"noValue,omitempty"`
	Color      object      `json:"color,omitempty"`
	Thresholds *Thresholds `json:"thresholds,omitempty"`
	Mappings   []object    `json:"mappings,omitempty"`
	Custom     object      `json:"custom,omitempty"`
}

// Thresholds colour a value by what it has reached.
type Thresholds struct {
	Mode  string `json:"mode"`
	Steps []Step `json:"steps"`
}

// Step is one threshold; the first has no value.
type Step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

// Override is the part of FieldConfig that holds for some series.
type Override struct {
	Matcher    Matcher    `json:"matcher"`
	Properties []Property `json:"properties"`
}

// Matcher says for which.
type Matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

// Property is one setting of an Override.
type Property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

// object is an option that only Grafana has to understand.
type object = map[string]any
