package scaler

import (
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
)

// Describe returns the description of a Jenkins node that Bellboard registers: words for people, and then the
// owner, which ParseOwner reads back. The Swarm plugin puts its own words before the description.
func Describe(instance string, p PoolID, fence bool) string {
	words, tail := "agent of team "+p.Team, ""
	if fence {
		words, tail = "keeps a leaving agent of team "+p.Team+" out", " fence"
	}
	return fmt.Sprintf("Bellboard: %s (bellboard instance=%s team=%s kind=%s%s)", words, instance, p.Team, p.Kind, tail)
}

var ownerPattern = regexp.MustCompile(`bellboard instance=([a-z0-9-]+) team=([a-z0-9-]+) kind=(ephemeral|persistent)( fence)?(?:\)|$|\s)`)

// ParseOwner reads the owner from a Jenkins node's description. ok is false if the Jenkins node does not
// belong to the instance.
func ParseOwner(instance, description string) (p PoolID, fence, ok bool) {
	m := ownerPattern.FindStringSubmatch(description)
	if m == nil || m[1] != instance {
		return PoolID{}, false, false
	}
	return PoolID{Team: m[2], Kind: Kind(m[3])}, m[4] != "", true
}

// MarkText returns the temporary-offline text of a mark of Bellboard's. Jenkins returns such a text changed:
// escaped as HTML, without its newlines, and without all that stands before its last " : ". A Reason contains
// none of these, so the text survives. The long reason stays in Bellboard's own records.
func MarkText(instance string, why Reason) string {
	return "bellboard(" + instance + "): " + string(why)
}

// HookText returns the beginning of the text that the one-build hook inside Jenkins writes.
func HookText(instance string) string { return "bellboard-hook(" + instance + ")" }

// HookLabel returns the label that the hook gives to Jenkins' built-in node. That label shows that the hook
// is installed.
func HookLabel(instance string) string { return "bellboard-hook-" + instance }

// Cause is why a Jenkins node is offline, in the fields of a Jenkins computer.
type Cause struct {
	Class string // offlineCause._class
	// Description is offlineCause.description: the complete text, with "Disconnected by USER : " before it.
	// Not every class has a description.
	Description string
	Reason      string // offlineCauseReason
}

// Text returns the cause in the words of its author, on one line.
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

// technical has the causes with which code of Jenkins core ends or misses a connection. If plugins and
// scripts use the same class too, the texts of core's own causes are listed.
var technical = map[string][]string{
	"hudson.slaves.OfflineCause$ChannelTermination":                        nil,
	"hudson.slaves.OfflineCause$LaunchFailed":                              nil,
	"hudson.slaves.OfflineCause$IdleOfflineCause":                          nil,
	"hudson.slaves.SimpleScheduledRetentionStrategy$ScheduledOfflineCause": nil,
	"hudson.TcpSlaveAgentListener$ConnectionFromCurrentPeer":               nil,
	"hudson.node_monitors.ResponseTimeMonitor$Data":                        nil,
	"hudson.slaves.OfflineCause$SimpleOfflineCause":                        {"Repeated ping attempts failed", "Node is being removed", "Computer has finished its scheduled uptime"},
}

// technical reports whether no person has chosen the cause.
func (c *Cause) technical() bool {
	texts, ok := technical[c.Class]
	return ok && (texts == nil || slices.Contains(texts, c.Text()))
}

// ReadMark returns who took a Jenkins node temporarily offline. before is what the previous answer showed.
//
// Before version 2.482, Jenkins keeps a single cause for both a mark and a lost connection. If the agent is
// cut off, a technical cause replaces the cause of the mark. If the mark was a person's before, it still is.
// Otherwise it counts as a monitor's, so Bellboard may mark the Jenkins node again. (When the agent comes
// back, Jenkins shows the cause of the mark again.)
//
// An unknown class may be that of a plugin through which a person speaks, so it counts as a person's. No
// class at all, which a script leaves, counts as a person's too.
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
	// Monitors of plugins have such classes too, for example VersionMonitor$….
	case strings.Contains(c.Class, "node_monitors"), strings.Contains(c.Class, "Monitor"):
		return Monitor
	default:
		return Person
	}
}

// AgentName returns an agent's name, made from its pool and a random part of ten characters of [a-z0-9]. The
// pod, its Secret and the Jenkins node have this name.
func AgentName(p PoolID, random string) string {
	return p.Team + "-" + string(p.Kind)[:1] + "-" + random
}
