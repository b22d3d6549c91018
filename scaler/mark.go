package scaler

import (
	"cmp"
	"fmt"
	"html"
	"regexp"
	"slices"
	"strings"
)

// Describe returns the description of a Jenkins node that Bellboard registers: words for people, and the
// owner.
func Describe(instance string, p PoolID, fence bool) string {
	words, tail := "agent of team "+p.Team, ""
	if fence {
		words, tail = "keeps a leaving agent of team "+p.Team+" out", " fence"
	}
	return fmt.Sprintf("Bellboard: %s (bellboard instance=%s team=%s kind=%s%s)", words, instance, p.Team, p.Kind, tail)
}

var ownerPattern = regexp.MustCompile(`bellboard instance=([a-z0-9-]+) team=([a-z0-9-]+) kind=(ephemeral|persistent)( fence)?(?:\)|$|\s)`)

// ParseOwner reads the owner from a Jenkins node's description, before which the Swarm plugin puts words of
// its own. ok is false if the Jenkins node does not belong to the instance.
func ParseOwner(instance, description string) (p PoolID, fence, ok bool) {
	m := ownerPattern.FindStringSubmatch(description)
	if m == nil || m[1] != instance {
		return PoolID{}, false, false
	}
	return PoolID{Team: m[2], Kind: Kind(m[3])}, m[4] != "", true
}

// MarkText returns the temporary-offline text of a mark of Bellboard's. Jenkins returns such a text escaped
// as HTML, without its newlines, and without all that stands before its last " : ". A Reason contains none of
// these, so the text survives.
func MarkText(instance string, why Reason) string {
	return "bellboard(" + instance + "): " + string(why)
}

// HookText returns the beginning of the text that the one-build hook inside Jenkins writes.
func HookText(instance string) string { return "bellboard-hook(" + instance + ")" }

// HookLabel returns the label of Jenkins' built-in node that shows that the hook is installed.
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
	text := cmp.Or(c.Description, c.Reason)
	if strings.HasPrefix(text, "Disconnected by ") {
		_, text, _ = strings.Cut(text, " : ")
	}
	return oneLine.Replace(html.UnescapeString(text))
}

var oneLine = strings.NewReplacer("<br>", " ", "\n", " ", "\u00a0", " ")

// technical lists the causes with which code of Jenkins core ends or misses a connection. Plugins and scripts
// use the last class too, so it stands with the texts of core.
var technical = []Cause{
	{Class: "hudson.slaves.OfflineCause$ChannelTermination"},
	{Class: "hudson.slaves.OfflineCause$LaunchFailed"},
	{Class: "hudson.slaves.OfflineCause$IdleOfflineCause"},
	{Class: "hudson.slaves.SimpleScheduledRetentionStrategy$ScheduledOfflineCause"},
	{Class: "hudson.TcpSlaveAgentListener$ConnectionFromCurrentPeer"},
	{Class: "hudson.node_monitors.ResponseTimeMonitor$Data"},
	{Class: "hudson.slaves.OfflineCause$SimpleOfflineCause", Reason: "Repeated ping attempts failed"},
	{Class: "hudson.slaves.OfflineCause$SimpleOfflineCause", Reason: "Node is being removed"},
	{Class: "hudson.slaves.OfflineCause$SimpleOfflineCause", Reason: "Computer has finished its scheduled uptime"},
}

// technical reports whether no person has chosen the cause.
func (c *Cause) technical() bool {
	return slices.ContainsFunc(technical, func(t Cause) bool {
		return t.Class == c.Class && (t.Reason == "" || t.Reason == c.Text())
	})
}

// ReadMark returns who took a Jenkins node temporarily offline. before is what the previous answer showed.
//
// Before version 2.482, Jenkins keeps a single cause for both a mark and a lost connection. If the agent is
// cut off, a technical cause replaces the cause of the mark until the agent comes back. If the mark was a
// person's before, it still is. Otherwise it counts as a monitor's, so Bellboard may mark the Jenkins node
// again.
//
// A person may speak through a plugin, whose class is not known here. A script leaves no class at all. Both
// count as a person's.
func ReadMark(instance string, temporarilyOffline bool, c Cause, before OfflineBy) OfflineBy {
	text := c.Text()
	switch {
	case !temporarilyOffline:
		return NotMarked
	case strings.HasPrefix(text, MarkText(instance, "")):
		return Ours
	case strings.HasPrefix(text, HookText(instance)+": "):
		return Hook
	case c.technical() && before == Person:
		return Person
	// Monitors of plugins have such classes too, for example VersionMonitor$….
	case c.technical(), strings.Contains(c.Class, "node_monitors"), strings.Contains(c.Class, "Monitor"):
		return Monitor
	}
	return Person
}

// AgentName returns the name of an agent's pod, Secret and Jenkins node, made from its pool and a random part
// of ten characters of [a-z0-9].
func AgentName(p PoolID, random string) string {
	return p.Team + "-" + string(p.Kind)[:1] + "-" + random
}
