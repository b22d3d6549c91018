package grafana

import (
	"fmt"
	"strings"
)

var (
	datasource = Source{Type: "prometheus", UID: "${datasource}"}
	zero       = 0.0
	one        = 1.0
)

// panel is a panel without its place; width is its share of the grid's 24.
type panel struct {
	Panel
	width int
}

// row is panels of one height side by side, under a title if it has one.
type row struct {
	title  string
	height int
	panels []panel
}

// place gives every panel its id and its place, in reading order.
func place(rows []row) []Panel {
	var out []Panel
	y := 0
	add := func(p Panel, at Grid) {
		p.ID, p.GridPos = len(out)+1, at
		out = append(out, p)
	}
	for _, r := range rows {
		if r.title != "" {
			add(Panel{Type: "row", Title: r.title, Collapsed: new(bool), Panels: &[]Panel{}}, Grid{H: 1, W: 24, Y: y})
			y++
		}
		x := 0
		for _, p := range r.panels {
			if x+p.width > 24 {
				x, y = 0, y+r.height
			}
			add(p.Panel, Grid{H: r.height, W: p.width, X: x, Y: y})
			x += p.width
		}
		y += r.height
	}
	return out
}

// query is a query over the time shown.
func query(expr, legend string) Target {
	return Target{Datasource: datasource, Expr: expr, Legend: legend, Range: true, Editor: "code"}
}

// once is a query for one value at the end of the time shown.
func once(expr, legend string) Target {
	t := query(expr, legend)
	t.Range, t.Instant = false, true
	return t
}

func newPanel(kind string, width int, title, unit, description string, targets []Target) panel {
	for i := range targets {
		targets[i].RefID = string(rune('A' + i))
	}
	return panel{width: width, Panel: Panel{
		Type: kind, Title: title, Description: description, Datasource: &datasource, Targets: targets,
		FieldConfig: &FieldConfig{Defaults: Field{Unit: unit}, Overrides: []Override{}},
	}}
}

// lines is a graph of lines over time.
func lines(width int, title, unit, description string, targets ...Target) panel {
	p := newPanel("timeseries", width, title, unit, description, targets)
	p.FieldConfig.Defaults.Min = &zero
	p.FieldConfig.Defaults.Color = object{"mode": "palette-classic"}
	p.FieldConfig.Defaults.Custom = object{
		"drawStyle": "line", "lineWidth": 2, "fillOpacity": 10, "showPoints": "never", "spanNulls": false,
	}
	p.Options = object{
		"legend":  object{"displayMode": "list", "placement": "bottom", "showLegend": true},
		"tooltip": object{"mode": "multi", "sort": "desc"},
	}
	return p
}

// areas is lines that add up.
func areas(width int, title, unit, description string, targets ...Target) panel {
	p := lines(width, title, unit, description, targets...)
	p.FieldConfig.Defaults.Custom["fillOpacity"] = 60
	p.FieldConfig.Defaults.Custom["lineWidth"] = 1
	p.FieldConfig.Defaults.Custom["stacking"] = object{"mode": "normal", "group": "A"}
	return p
}

// bars is events by the minute, a quarter of a row; a line would join what has nothing between it.
func bars(title, description string, targets ...Target) panel {
	p := areas(6, title, "cpm", description, targets...)
	p.FieldConfig.Defaults.Custom["drawStyle"] = "bars"
	return p
}

// number is a value to be read from afar, a sixth of a row.
func number(title, unit, description string, targets ...Target) panel {
	p := newPanel("stat", 4, title, unit, description, targets)
	p.FieldConfig.Defaults.NoValue = "–"
	p.FieldConfig.Defaults.Color = object{"mode": "fixed", "fixedColor": "blue"}
	graph := "area"
	if targets[0].Instant {
		graph = "none"
	}
	p.Options = object{
		"colorMode": "background", "graphMode": graph, "justifyMode": "center", "orientation": "vertical", "textMode": "auto",
		"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

// gauges is one bar for each series.
func gauges(width int, title, unit, description string, targets ...Target) panel {
	p := newPanel("bargauge", width, title, unit, description, targets)
	p.FieldConfig.Defaults.Min = &zero
	p.FieldConfig.Defaults.Color = object{"mode": "continuous-BlYlRd"}
	p.Options = object{
		"displayMode": "gradient", "orientation": "horizontal", "showUnfilled": true, "valueMode": "text",
		"reduceOptions": object{"calcs": []string{"lastNotNull"}, "fields": "", "values": false},
	}
	return p
}

// heat is a histogram's buckets over time.
func heat(width int, title, unit, description, expr string) panel {
	t := query(expr, "{{le}}")
	t.Format = "heatmap"
	p := newPanel("heatmap", width, title, unit, description, []Target{t})
	p.Options = object{
		"calculate": false, "cellGap": 1, "color": object{"mode": "scheme", "scheme": "Oranges", "steps": 64},
		"yAxis": object{"unit": unit, "axisPlacement": "left"}, "tooltip": object{"mode": "single", "yHistogram": true},
		"legend": object{"show": false}, "showValue": "never",
	}
	return p
}

// steps colours by thresholds: green below the first, then yellow, then red.
func (p panel) steps(yellow, red float64) panel {
	p.FieldConfig.Defaults.Color = object{"mode": "thresholds"}
	p.FieldConfig.Defaults.Thresholds = &Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}, {Color: "yellow", Value: &yellow}, {Color: "red", Value: &red}}}
	return p
}

// mustBeZero is red from one on.
func (p panel) mustBeZero() panel {
	p.FieldConfig.Defaults.Color = object{"mode": "thresholds"}
	p.FieldConfig.Defaults.Thresholds = &Thresholds{Mode: "absolute", Steps: []Step{{Color: "green"}, {Color: "red", Value: &one}}}
	return p
}

// says shows words for numbers: 0, 1, … in order, each "colour words".
func (p panel) says(words ...string) panel {
	m := object{}
	for i, w := range words {
		color, text, _ := strings.Cut(w, " ")
		m[fmt.Sprint(i)] = object{"index": i, "color": color, "text": text}
	}
	p.FieldConfig.Defaults.Color = object{"mode": "thresholds"}
	p.FieldConfig.Defaults.Mappings = []object{{"type": "value", "options": m}}
	return p
}

// where sets properties of the series whose name is, or between slashes matches, name.
func (p panel) where(name string, properties ...Property) panel {
	by := "byName"
	if strings.HasPrefix(name, "/") {
		by = "byRegexp"
	}
	p.FieldConfig.Overrides = append(p.FieldConfig.Overrides, Override{Matcher: Matcher{ID: by, Options: name}, Properties: properties})
	return p
}

// line draws one series of a pile as a line over it.
func (p panel) line(name, color string, dash ...int) panel {
	style := object{"fill": "solid"}
	if len(dash) > 0 {
		style = object{"fill": "dash", "dash": dash}
	}
	return p.where(name, paint(color), Property{"custom.stacking", object{"mode": "none"}}, Property{"custom.fillOpacity", 0},
		Property{"custom.lineWidth", 2}, Property{"custom.lineStyle", style})
}

func paint(color string) Property {
	return Property{"color", object{"mode": "fixed", "fixedColor": color}}
}

// codes colours HTTP status codes.
func (p panel) codes() panel {
	return p.where("/^[123]..$/", paint("green")).where("/^4..$/", paint("orange")).where("/^(5..|error)$/", paint("red"))
}

// runbook links the panel to an alert's section of the runbooks.
func (p panel) runbook(alert string) panel {
	p.Links = append(p.Links, link("Runbook: "+alert, "${runbooks}#"+strings.ToLower(alert)))
	return p
}

func link(title, url string) Link {
	return Link{Title: title, URL: url, Type: "link", Icon: "doc", Tags: []string{}, TargetBlank: true}
}
