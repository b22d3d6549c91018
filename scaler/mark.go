package scaler

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
)

// Describe is a registered node's description: words for people, then the
// owner that ParseOwner reads back. The Swarm plugin puts its own words before.
func Describe(instance string, p PoolID, fence bool) string {
	words, tail := "agent of team "+p.Team, ""
	if fence {
		words, tail = "keeps a leaving agent of team "+p.Team+" out", " fence"
	}
	return fmt.Sprintf("Bellboard: %s (bellboard instance=%s team=%s kind=%s%s)", words, instance, p.Team, p.Kind, tail)
}

var ownerPattern = regexp.MustCompile(`bellboard instance=([a-z0-9-]+) team=([a-z0-9-]+) kind=(ephemeral|persistent)( fence)?(?:\)|$|\s)`)

// ParseOwner reads a node's description. ok is false when the node is not the instance's.
func ParseOwner(instance, description string) (p PoolID, fence, ok bool) {
	m := ownerPattern.FindStringSubmatch(description)
	if m == nil || m[1] != instance {
		return PoolID{}, false, false
	}
	return PoolID{Team: m[2], Kind: Kind(m[3])}, m[4] != "", true
}

// MarkText is the temporary-offline text of a mark of ours. Jenkins gives a text
// back changed: escaped as HTML, without its newlines, and without all that stands
// before its last " : ". A Reason has nothing of these, so the text survives; the
// long reason stays in our own records.
func MarkText(instance string, why Reason) string {
	return "bellboard(" + instance + "): " + string(why)
}

// HookText begins the text that the one-build hook inside Jenkins writes.
func HookText(instance string) string { return "bellboard-hook(" + instance + ")" }

// HookLabel is the label that the hook gives Jenkins' built-in node, to show that it is there.
func HookLabel(instance string) string { return "bellboard-hook-" + instance }

// Cause is why a node is offline, in the fields of a Jenkins computer.
type Cause struct {
	Class string // offlineCause._class
	// Description is offlineCause.description: whole, with "Disconnected by USER : "
	// before it. Not every class has one.
	Description string
	Reason      string // offlineCauseReason
}

// Text is the cause in the words of its author, on one line.
func (c *Cause) Text() string {
	text := c.Reason
	if c.Description != "" {
		text = c.Description
	}
	if strings.HasPrefix(text, "Disconnected by ") {
		_, text, _ = strings.Cut(text, " : ")
	}
	return oneLine.Replace(html.UnescapeString(text))
}

var oneLine = strings.NewReplacer("<br>", " ", "\n", " ", "\u00a0", " ")

// technical are the causes by which core's own code ends or misses a connection,
// each with its text where plugins and scripts use the class too.
var technical = map[string][]string{
	"hudson.slaves.OfflineCause$ChannelTermination":                        nil,
	"hudson.slaves.OfflineCause$LaunchFailed":                              nil,
	"hudson.slaves.OfflineCause$IdleOfflineCause":                          nil,
	"hudson.slaves.SimpleScheduledRetentionStrategy$ScheduledOfflineCause": nil,
	"hudson.TcpSlaveAgentListener$ConnectionFromCurrentPeer":               nil,
	"hudson.node_monitors.ResponseTimeMonitor$Data":                        nil,
	"hudson.slaves.OfflineCause$SimpleOfflineCause":                        {"Repeated ping attempts failed", "Node is being removed", "Computer has finished its scheduled uptime"},
}

// technical reports a cause that nobody has chosen.
func (c *Cause) technical() bool {
	texts, ok := technical[c.Class]
	return ok && (texts == nil || slices.Contains(texts, c.Text()))
}

// ReadMark tells who took a node temporarily offline. before is what the answer
// before told of it.
//
// Before 2.482 Jenkins keeps one cause of both a mark and a lost connection: when
// the agent is cut off, a technical cause stands in place of the mark's. Then it
// was a person's if it had been before. Otherwise it counts as a monitor's: it is
// ours to mark again. (When the agent comes back, Jenkins shows the mark's cause
// again.) A class that is not known here may be a plugin's through which a person
// speaks, so it is a person's; so is no class at all, which a script leaves.
func ReadMark(instance string, temporarilyOffline bool, c Cause, before OfflineBy) OfflineBy {
	if !temporarilyOffline {
		return NotMarked
	}
	text := c.Text()
	switch {
	case strings.HasPrefix(text, MarkText(instance, "")):
		return Ours
	case strings.HasPrefix(text, HookText(instance)+": "):
		return Hook
	case c.technical():
		if before == Person {
			return Person
		}
		return Monitor
	case strings.Contains(c.Class, "node_monitors"), strings.Contains(c.Class, "Monitor"): // plugins' too, such as VersionMonitor$…
		return Monitor
	default:
		return Person
	}
}

// AgentName makes an agent's name from its pool and a random part of ten
// characters of [a-z0-9]. It is the name of the pod, its Secret and the node.
func AgentName(p PoolID, random string) string {
	return p.Team + "-" + string(p.Kind)[:1] + "-" + random
}
