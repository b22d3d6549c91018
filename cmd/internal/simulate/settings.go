package simulate

import (
	"fmt"
	"strings"
	"time"

	"bellboard/cmd/internal/config"
	"bellboard/scaler"
)

// unlimited is MAX_AGENTS if nobody sets it: as many agents as a history can have builds.
const unlimited = "1000000"

// Settings returns the team, as a timetable of one team, and the poll interval. KEY=VALUE settings make them of
// Bellboard's built-in defaults. A KEY is the last part of a variable's name: MODE stands for BELLBOARD_DEFAULT_MODE, and
// PERSISTENT_IDLE_TIMEOUT for BELLBOARD_DEFAULT_PERSISTENT_IDLE_TIMEOUT. POLL_INTERVAL is the only setting of the
// daemon as a whole. Other than the daemon's, the team has
// no limit of agents unless MAX_AGENTS is set.
func Settings(set ...string) (*config.Timetable, time.Duration, error) {
	environ := []string{
		"BELLBOARD_JENKINS_URL=http://jenkins", "BELLBOARD_TEAMS=" + team, "BELLBOARD_MAX_AGENTS=" + unlimited,
		scaler.VariablesOf(team, "") + "_LABELS=" + team, "BELLBOARD_DEFAULT_MAX_AGENTS=" + unlimited,
	}
	for _, s := range set {
		key, value, ok := strings.Cut(s, "=")
		if key = strings.ToUpper(strings.TrimSpace(key)); !ok || key == "" {
			return nil, 0, fmt.Errorf("the setting %q is no KEY=VALUE; write one such as MODE=ephemeral", s)
		}
		variable := "BELLBOARD_DEFAULT_" + strings.TrimPrefix(key, "BELLBOARD_DEFAULT_")
		if strings.HasSuffix(key, "POLL_INTERVAL") {
			variable = "BELLBOARD_POLL_INTERVAL"
		}
		environ = append(environ, variable+"="+value)
	}
	c, err := config.Load(environ, config.WithoutJenkins())
	if err != nil {
		return nil, 0, err
	}
	return c.Timetable(), c.PollInterval, nil
}

// team is the name of the simulated team, and its only label.
const team = "team"

// Bellboard returns Bellboard's own decision with the given settings, which is asked every POLL_INTERVAL.
func Bellboard(name string, set ...string) (Policy, error) {
	t, poll, err := Settings(set...)
	if err != nil {
		return Policy{}, err
	}
	return Deciding(name, poll, t, nil), nil
}

// Decide is what makes a plan of an input: scaler.Checked, or a stand-in of a test. A nil Decide is Bellboard's
// own decision. Its plans are checked in the first polls and then now and then, which saves a tenth of the time.
type Decide func(scaler.Input) (scaler.Plan, scaler.Memory, scaler.Facts, error)

// Deciding returns the policy of a team that a decision governs.
func Deciding(name string, poll time.Duration, t *config.Timetable, decide Decide) Policy {
	return Policy{Name: name, make: func(s *Scenario, _ []Build) (policy, error) {
		return newBellboard(t, poll, decide, s), nil
	}}
}
