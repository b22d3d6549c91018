package main

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"bellboard/cmd/internal/app"
	"bellboard/cmd/internal/config"
	"bellboard/cmd/internal/simulate"
	"bellboard/queue"
	"bellboard/scaler/clock"
	"bellboard/scaler/plain"
)

// manyFailures is how many folders and jobs that could not be read are named.
const manyFailures = 20

func historyCommand(environ []string) *cobra.Command {
	var days int
	var out string
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Write Jenkins' builds of the last days as a history for bellboard simulate",
		Long: "Reads the builds that Jenkins has kept, and writes them as CSV with the columns " + simulate.Header + ".\n" +
			"Needs BELLBOARD_JENKINS_URL, BELLBOARD_JENKINS_USER and BELLBOARD_JENKINS_TOKEN_FILE, no team and no Kubernetes. The user\n" +
			"needs Overall/Read, and Job/Read for each job that the history is to have. Sends one small request after another, and\n" +
			"changes nothing. docs/history.md says which times are exact, and which label a build gets.\n" +
			"Exit code 0: done; 3: the history lacks jobs, which are named; 2: the settings are wrong; 1: Jenkins could not be read, and\n" +
			"nothing is written.",
		Example: "  bellboard history --out builds.csv.gz\n" +
			"  bellboard simulate builds.csv.gz",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if days < 1 || days > 90 {
				return usageError{fmt.Errorf("--days %d: write a number of days from 1 to 90", days)}
			}
			settings, err := load(withoutTemplates(environ), config.WithoutTeams())
			if err != nil {
				return err
			}
			file, err := newOutput(out, cmd.OutOrStdout())
			if err != nil {
				return usageError{fmt.Errorf("--out: %w", err)}
			}
			defer file.drop()
			client, err := historyClient(settings)
			if err != nil {
				return err
			}
			p := past{progress: newProgress(cmd.ErrOrStderr()), w: cmd.ErrOrStderr()}
			p.reading = queue.Reading{Since: time.Now().AddDate(0, 0, -days), Past: p.add, Failed: p.fail, Progress: p.progress.show}
			err = client.History(cmd.Context(), &p.reading)
			p.progress.clear()
			if err != nil {
				return err
			}
			h := p.builds.History()
			if err := p.tell(h, days); err != nil {
				return err
			}
			if err := file.write(h); err != nil {
				return err
			}
			if p.failed > 0 {
				return codeError(exitChanges)
			}
			return nil
		},
	}
	cmd.Flags().IntVar(&days, "days", 14, "write the builds that began in the last days")
	cmd.Flags().StringVar(&out, "out", "", "file to write, packed by gzip if its name ends in .gz; without it the history goes to the standard output")
	return cmd
}

// historyClient returns a client with the daemon's own settings for Jenkins.
func historyClient(s *config.Config) (*queue.Client, error) {
	wire, err := app.JenkinsTransport(s.JenkinsCAFile)
	if err != nil {
		return nil, err
	}
	token := config.NewTokenSource(s.JenkinsTokenFile, clock.Real())
	return queue.New(queue.Config{
		URL: s.JenkinsURL, User: s.JenkinsUser, Token: token.Token, Expire: token.Expire, Transport: wire, Clock: clock.Real(),
	})
}

// past collects what a reading brings.
type past struct {
	reading  queue.Reading
	builds   simulate.Collector
	progress *progress
	w        io.Writer
	failed   int
}

func (p *past) add(b queue.Past) error {
	if b.Up.Job != "" {
		p.builds.Caused(b.Job, b.Number, b.Up.Job, b.Up.Number)
	}
	for _, u := range b.Uses {
		build := simulate.Build{Submitted: u.Submitted.UnixMilli(), Length: u.Length.Milliseconds()}
		if !u.Started.IsZero() {
			build.Started = u.Started.UnixMilli()
		}
		if err := p.builds.Add(build, u.Label, u.Job, b.Job, b.Number); err != nil {
			return err
		}
	}
	return nil
}

func (p *past) fail(name string, err error) {
	p.progress.clear()
	switch p.failed++; {
	case p.failed <= manyFailures:
		p.say("%s is left out: %v", name, err)
	case p.failed == manyFailures+1:
		p.say("more folders and jobs are left out, and not named")
	}
}

func (p *past) say(format string, args ...any) {
	_, _ = fmt.Fprintln(p.w, "bellboard:", plain.Line(fmt.Sprintf(format, args...)))
}

// tell says what the history has, and what it lacks. Its error says that the history has nothing.
func (p *past) tell(h *simulate.History, days int) error {
	r := &p.reading
	if len(h.Builds) == 0 {
		const nothing = "no build of the last %d days used an agent: %d jobs seen, %d folders or jobs could not be read; " +
			"give more --days, or let the user read the jobs (Job/Read)"
		return fmt.Errorf(nothing, days, r.Jobs, p.failed)
	}
	p.say("%d rows from %d builds; %d jobs seen, %d requests", len(h.Builds), r.Builds, r.Jobs, r.Requests)
	for _, t := range []struct {
		n    int
		what string
	}{
		{r.Whole, "pipelines count as one use of an agent for their whole time: only with its plugin metrics does Jenkins record node blocks"},
		{r.Untimed - r.Whole, "other rows lack their wait, which Jenkins' plugin metrics would record"},
		{r.Unlabelled, "rows have the label " + queue.LabelGone + ": their node is gone, and Jenkins tells no label of the job"},
		{r.Running, "builds are not over and left out"},
		{r.Other, "builds are left out, since their kind does not say where it ran"},
		{p.failed, "folders or jobs are left out, since Jenkins did not answer for them"},
	} {
		if t.n > 0 {
			p.say("%d %s", t.n, t.what)
		}
	}
	return nil
}

// output is where the history goes. A file appears under its name only when it is complete.
type output struct {
	w    io.Writer
	file *os.File // nil: the standard output
	name string
}

// newOutput makes the file at once: a reading takes minutes, and must not fail at its end.
func newOutput(name string, stdout io.Writer) (*output, error) {
	if name == "" {
		return &output{w: stdout}, nil
	}
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file; write the name of a file", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*.part")
	return &output{w: f, file: f, name: name}, err
}

func (o *output) write(h *simulate.History) error {
	if o.file == nil {
		return h.Write(o.w)
	}
	var err error
	if strings.HasSuffix(o.name, ".gz") {
		z := gzip.NewWriter(o.w)
		err = errors.Join(h.Write(z), z.Close())
	} else {
		err = h.Write(o.w)
	}
	if err = errors.Join(err, o.file.Close()); err != nil {
		return err
	}
	return os.Rename(o.file.Name(), o.name)
}

// drop removes a file that is not complete.
func (o *output) drop() {
	if o.file != nil {
		_ = o.file.Close()
		_ = os.Remove(o.file.Name()) // a complete file has its own name by now
	}
}
