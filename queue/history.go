package queue

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"slices"
	"strings"
	"time"

	"bellboard/scaler/clock"
	"bellboard/scaler/label"
)

// Run names a build: the full name of its job, and its number.
type Run struct {
	Job    string
	Number int
}

// Past is a build of the past.
type Past struct {
	Run

	Up   Run   // the build that caused this build; its Job is empty if a person, a commit or a timer did
	Uses []Use // none if the build used no agent, or is left out
}

// Use is one use of an agent by a build.
type Use struct {
	Job       string // full name of the job, or of the cell of a matrix job
	Label     string // the label that the build asked for, or one of the words below
	Submitted time.Time
	Started   time.Time // zero: Jenkins does not tell how long the build waited
	Length    time.Duration
}

// The words in place of a label that Jenkins does not tell. No label expression is such a word.
const (
	LabelPipeline = "(pipeline)" // Jenkins keeps no label of a pipeline's node blocks
	LabelBuiltIn  = "(built-in)" // the build asked for no label, and ran on the built-in node
	LabelGone     = "(gone)"     // the build asked for no label that Jenkins tells, and its node is gone
)

// Reading is what a reading of the past is told and tells.
type Reading struct {
	Since time.Time // builds that began before are left out
	// Past gets every build, those of one job in a row, the newest first. Its error ends the reading.
	Past func(Past) error
	// Failed gets a folder or a job that Jenkins did not answer for. All its builds are left out.
	Failed func(name string, err error)
	// Progress gets how many of all jobs have been read, and the name of the next.
	Progress func(done, all int, job string)

	Jobs, Requests int
	Builds         int // that are over, and may have used an agent
	Running, Other int // builds that are left out: not over; of a kind that does not say where it ran
	Whole          int // pipelines that count as one use for their whole time
	Untimed        int // uses of which Jenkins does not tell how long they waited
	Unlabelled     int // uses with the label LabelGone
}

const (
	historyEndpoint = "history" // Endpoints lacks it, since the loop never asks it

	pageOfJobs   = 100
	pageOfBuilds = 100
	pageOfMatrix = 20 // each of these builds brings its cells
	// cheapBuilds is how many builds Jenkins shows as "builds". It loads no other for them. For "allBuilds" it
	// loads every build that the job has kept.
	cheapBuilds = 100

	patience = 12 // so many times History asks whether Jenkins is back
	// A use is no longer than a history allows, and a pipeline has no more uses than that.
	longestUse = 90 * 24 * time.Hour
	mostUses   = 10_000

	labelsTree = "computer[displayName,assignedLabels[name]]"
	listTree   = "jobs[name,fullName,labelExpression,lastBuild[timestamp],jobs[name]{0,1}]"
	buildTree  = "number,timestamp,duration,building,builtOn,actions[causes[upstreamProject,upstreamBuild],queuingDurationMillis,buildableDurationMillis,buildableTimeMillis,executingTimeMillis,subTaskCount]"
	runsTree   = ",runs[url," + buildTree + "]"
)

const (
	classMatrixProject = "hudson.matrix.MatrixProject"
	classMatrixBuild   = "hudson.matrix.MatrixBuild"
	classWorkflowRun   = "org.jenkinsci.plugins.workflow.job.WorkflowRun"
)

// errGone ends a reading: Jenkins as a whole does not answer.
var errGone = errors.New("jenkins stopped answering")

// pastJob is a job or a folder, as in Jenkins' answer.
type pastJob struct {
	Class string `json:"_class"`
	Name  string `json:"name"`
	Full  string `json:"fullName"`
	Label string `json:"labelExpression"`
	Last  *struct {
		At int64 `json:"timestamp"`
	} `json:"lastBuild"`
	Jobs optional[[]struct{}] `json:"jobs"` // only a folder has it

	path string
}

// pastBuild is a build, as in Jenkins' answer. Times are in milliseconds.
type pastBuild struct {
	Class    string       `json:"_class"`
	URL      string       `json:"url"`
	Number   int          `json:"number"`
	At       int64        `json:"timestamp"`
	Duration int64        `json:"duration"`
	Building bool         `json:"building"`
	BuiltOn  *string      `json:"builtOn"`
	Actions  []pastAction `json:"actions"`
	Runs     []pastBuild  `json:"runs"`
}

type pastAction struct {
	Causes []struct {
		Project string `json:"upstreamProject"`
		Build   int    `json:"upstreamBuild"`
	} `json:"causes"`

	// The plugin metrics adds these. A Duration is the build's own, a Time also has its node blocks.
	Queuing       int64  `json:"queuingDurationMillis"`
	Buildable     *int64 `json:"buildableDurationMillis"`
	BuildableTime int64  `json:"buildableTimeMillis"`
	Executing     int64  `json:"executingTimeMillis"`
	Blocks        int    `json:"subTaskCount"`
}

// History reads the builds that began since h.Since, and counts into h. It only reads, and sends one request
// after another. A folder or job that Jenkins does not answer for goes to h.Failed. If Jenkins itself stops
// answering, History waits a minute for it. An error means that the reading is not complete.
func (c *Client) History(ctx context.Context, h *Reading) error {
	r := reader{c: c, h: h, since: h.Since.UnixMilli(), labels: map[string]string{}}
	if err := r.nodes(ctx); err != nil {
		return fmt.Errorf("reading Jenkins' nodes: %w", err)
	}
	jobs, err := r.list(ctx)
	if err != nil {
		return fmt.Errorf("reading Jenkins' jobs: %w", err)
	}
	for i := range jobs {
		j := &jobs[i]
		h.Progress(i, len(jobs), j.Full)
		all, err := r.builds(ctx, j)
		if err != nil {
			if err = r.failed(ctx, j.Full, err); err != nil {
				return fmt.Errorf("reading the builds of %s: %w", j.Full, err)
			}
			continue
		}
		for k := range all {
			if err := h.Past(r.past(j, &all[k])); err != nil {
				return err
			}
		}
	}
	return nil
}

// reader is one reading under way.
type reader struct {
	c      *Client
	h      *Reading
	since  int64
	labels map[string]string // of the nodes, by name
	met    bool              // Jenkins has answered
}

// document reads one document. If Jenkins as a whole is away, document waits until Jenkins answers the small
// question, and asks once more.
func (r *reader) document(ctx context.Context, path, tree string, decode func(io.Reader) error) error {
	ask := func() error {
		r.h.Requests++
		_, err := r.c.document(ctx, historyEndpoint, path, tree, func(_ *Answer, in io.Reader) error { return decode(in) })
		return err
	}
	err := ask()
	r.met = r.met || err == nil
	if err == nil || !r.met || !r.c.breaker.failing() && !errors.Is(err, ErrUnauthorized) {
		return err
	}
	for range patience {
		r.h.Requests++
		if err = r.c.alive(ctx); err == nil {
			return ask()
		}
		if err := clock.Sleep(ctx, r.c.c.Clock, retryAfter); err != nil {
			return err
		}
	}
	return fmt.Errorf("%w for a minute: %w", errGone, err)
}

// failed tells of a folder or job that could not be read. It returns the error if that is not the job's own.
func (r *reader) failed(ctx context.Context, name string, err error) error {
	for _, all := range []error{errGone, ErrUnauthorized, ErrNoToken, ErrBlocked, ErrStripped} {
		if errors.Is(err, all) {
			return err
		}
	}
	if ctx.Err() == nil {
		r.h.Failed(name, err)
	}
	return ctx.Err()
}

// nodes reads the labels of the nodes.
func (r *reader) nodes(ctx context.Context) error {
	return r.document(ctx, "/computer", labelsTree, func(in io.Reader) error {
		var n computer
		return decodeList(in, computersClass, "computer", &n, func() error {
			var names []string
			for _, l := range n.Labels {
				if l.Name != n.Name { // every node has its own name as a label
					names = append(names, l.Name)
				}
			}
			slices.Sort(names)
			r.labels[n.Name] = cmp.Or(strings.Join(names, "&&"), n.Name)
			n = computer{}
			return nil
		})
	})
}

// list returns the jobs that began a build in time, in all folders.
func (r *reader) list(ctx context.Context) (jobs []pastJob, err error) {
	seen := 0
	for folders := []pastJob{{}}; len(folders) > 0; {
		f := folders[0]
		folders = folders[1:]
		r.h.Progress(0, 1, fmt.Sprintf("listing the jobs, %d so far", r.h.Jobs))
		children, err := r.children(ctx, &f)
		if err != nil {
			if f.path != "" {
				err = r.failed(ctx, f.Full, err)
			}
			if err != nil {
				return nil, err
			}
		}
		seen += len(children)
		for _, j := range children {
			switch {
			case j.Jobs.present:
				folders = append(folders, j)
				continue
			case j.Last != nil && j.Last.At >= r.since:
				jobs = append(jobs, j)
			}
			r.h.Jobs++
		}
	}
	if seen == 0 {
		return nil, fmt.Errorf("%w, or Jenkins has no job yet: the user can see no job", ErrBlind)
	}
	return jobs, nil
}

// children returns the jobs and folders of a folder.
func (r *reader) children(ctx context.Context, f *pastJob) ([]pastJob, error) {
	known := map[string]pastJob{} // while jobs come and go, a page may repeat one
	err := pages(pageOfJobs, func(from, to int) (int, error) {
		before := len(known)
		err := r.document(ctx, f.path, fmt.Sprintf("%s{%d,%d}", listTree, from, to), func(in io.Reader) error {
			var j pastJob
			return decodeList(in, "", "jobs", &j, func() error {
				j.path = f.path + "/job/" + url.PathEscape(j.Name)
				known[j.Name] = j
				j = pastJob{}
				return nil
			})
		})
		return len(known) - before, err
	})
	return slices.SortedFunc(maps.Values(known), func(a, b pastJob) int { return cmp.Compare(a.Name, b.Name) }), err
}

// builds returns the builds of a job that began in time, the newest first.
func (r *reader) builds(ctx context.Context, j *pastJob) (all []pastBuild, err error) {
	size, tree := pageOfBuilds, buildTree
	if j.Class == classMatrixProject {
		size, tree = pageOfMatrix, buildTree+runsTree
	}
	// The number of the build before. A build that began meanwhile shifts the pages, and a page that broke off
	// comes a second time.
	last := math.MaxInt
	err = pages(size, func(from, to int) (int, error) {
		list := "builds"
		if to > cheapBuilds {
			list = "allBuilds"
		}
		before, older := len(all), false
		err := r.document(ctx, j.path, fmt.Sprintf("%s[%s]{%d,%d}", list, tree, from, to), func(in io.Reader) error {
			var b pastBuild
			return decodeList(in, "", list, &b, func() error {
				older = older || b.At < r.since
				if b.Number < last && b.At >= r.since {
					all, last = append(all, b), b.Number
				}
				b = pastBuild{}
				return nil
			})
		})
		if older {
			return 0, err
		}
		return len(all) - before, err
	})
	return all, err
}

// pages asks for one page of a list after another. ask returns how many new elements the page had. Jenkins
// leaves out an element that it fails to write, so that only a page that is not half full is the last.
func pages(size int, ask func(from, to int) (int, error)) error {
	for from := 0; ; from += size {
		if n, err := ask(from, from+size); err != nil || 2*n < size {
			return err
		}
	}
}

// past returns a build with its uses of agents. A build that is left out has none, and still says its cause.
func (r *reader) past(j *pastJob, b *pastBuild) Past {
	p := Past{Run: Run{j.Full, b.Number}}
	for _, a := range b.Actions {
		for _, c := range a.Causes {
			if p.Up.Job == "" {
				p.Up = Run{c.Project, c.Build}
			}
		}
	}
	switch {
	case b.Building:
		r.h.Running++
		return p
	case b.Class == classWorkflowRun:
		p.Uses = r.pipeline(j.Full, b)
	case b.Class == classMatrixBuild: // the build itself needs no agent
		for i := range b.Runs {
			// A cell that did not run this time shows its run of an earlier build.
			if run := &b.Runs[i]; run.Number == b.Number && !run.Building {
				u, wait := r.use(j.Full+"/"+cell(run.URL), "", run)
				if wait != nil { // a cell has the time of the matrix build
					u.Started = u.Submitted.Add(millis(wait.Queuing))
					u.Submitted = u.Started.Add(-millis(*wait.Buildable))
				}
				p.Uses = append(p.Uses, u)
			}
		}
	case b.BuiltOn != nil:
		u, wait := r.use(j.Full, j.Label, b)
		if wait != nil { // a build has the time at which an executor took it
			u.Started = u.Submitted
			u.Submitted = u.Started.Add(-millis(*wait.Buildable))
		}
		p.Uses = []Use{u}
	default:
		r.h.Other++
		return p
	}
	r.h.Builds++
	return p
}

// use returns a use that was submitted at the time of the build, and what Jenkins tells of its wait, or nil.
func (r *reader) use(job, expression string, b *pastBuild) (Use, *pastAction) {
	u := Use{Job: job, Submitted: time.UnixMilli(b.At), Length: millis(b.Duration)}
	node := ""
	if b.BuiltOn != nil {
		node = *b.BuiltOn
	}
	switch {
	case expression != "":
		u.Label = label.Parse(expression).Source()
	case node == "":
		u.Label = LabelBuiltIn
	case r.labels[node] != "":
		u.Label = r.labels[node]
	default:
		u.Label = LabelGone
		r.h.Unlabelled++
	}
	wait := b.wait()
	if wait == nil {
		r.h.Untimed++
	}
	return u, wait
}

// pipeline returns the uses of a pipeline, one for each node block. Jenkins tells how many blocks there were,
// how long all of them ran and how long all of them waited. The uses share these times evenly, and are spread
// evenly over the time of the pipeline: blocks that ran one after another come so, and blocks that ran at
// once come at once.
func (r *reader) pipeline(job string, b *pastBuild) []Use {
	u := Use{Job: job, Label: LabelPipeline, Submitted: time.UnixMilli(b.At), Length: millis(b.Duration)}
	sum := b.wait()
	if sum == nil {
		r.h.Whole++
		r.h.Untimed++
		return []Use{u}
	}
	n := min(sum.Blocks, mostUses)
	if n <= 0 {
		return nil
	}
	whole, wait := u.Length, millis(sum.BuildableTime-*sum.Buildable)/time.Duration(n)
	u.Length = millis(sum.Executing / int64(n))
	free := max(0, whole-u.Length-wait)
	uses := make([]Use, n)
	for i := range uses {
		uses[i] = u
		if i > 0 {
			uses[i].Submitted = u.Submitted.Add(free / time.Duration(n-1) * time.Duration(i))
		}
		uses[i].Started = uses[i].Submitted.Add(wait)
	}
	return uses
}

// wait returns what the plugin metrics has recorded of the build, or nil.
func (b *pastBuild) wait() *pastAction {
	i := slices.IndexFunc(b.Actions, func(a pastAction) bool { return a.Buildable != nil })
	if i < 0 {
		return nil
	}
	return &b.Actions[i]
}

// cell returns the name of the cell from the address of its run: …/job/matrix/label=linux/7/.
func cell(address string) string {
	parts := strings.Split(strings.Trim(address, "/"), "/")
	name, err := url.PathUnescape(parts[max(0, len(parts)-2)])
	if err != nil {
		return parts[max(0, len(parts)-2)]
	}
	return name
}

// millis returns a length of time that a history allows.
func millis(ms int64) time.Duration {
	return time.Duration(min(max(ms, 0), longestUse.Milliseconds())) * time.Millisecond
}
