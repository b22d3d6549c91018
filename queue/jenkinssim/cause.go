package jenkinssim

import (
	"strings"
	"time"
)

// These are the classes of an offline cause that Jenkins exports.
const (
	causeUser         = "hudson.slaves.OfflineCause$UserCause"
	causeTermination  = "hudson.slaves.OfflineCause$ChannelTermination"
	causeLaunchFailed = "hudson.slaves.OfflineCause$LaunchFailed"
	causeDiskSpace    = "hudson.node_monitors.DiskSpaceMonitorDescriptor$DiskSpace"
)

const (
	textBroken       = "Connection was broken"
	textLaunchFailed = "This agent is offline because Jenkins failed to launch the agent process on it."
	disconnectedBy   = "Disconnected by "
)

// mark is an offline cause. Jenkins stores a temporary cause with the node.
type mark struct {
	class, text, user string
	at                time.Time
	ours              bool // set by the REST account or by the hook
}

// cause returns why a computer says that it is offline. Before 2.482 Jenkins has one field
// for both causes, with the later cause.
func (j *Jenkins) cause(n *node) (mark, bool) {
	lost := n.ch == nil && n.lost.class != ""
	switch {
	case n.mark != nil && (!lost || j.version >= causesSince):
		return *n.mark, true
	case lost:
		return n.lost, true
	}
	return mark{}, false
}

// words returns the cause's text as Jenkins has it.
func (j *Jenkins) words(c mark) string {
	if c.class != causeUser {
		return c.text
	}
	text := disconnectedBy + c.user
	if c.text != "" {
		text += " : " + c.text
	}
	if j.version >= escapedSince && j.version < escapedUntil {
		text = escape(text)
	}
	return text
}

// reason is IOfflineCause.getReason: Jenkins takes all before the last " : " for the head
// that names the user.
func (j *Jenkins) reason(c mark) string {
	text := j.words(c)
	if rest, ok := strings.CutPrefix(text, disconnectedBy); ok {
		if i := strings.LastIndex(rest, " : "); i >= 0 {
			text = rest[i+len(" : "):]
		}
	}
	if strings.HasPrefix(text, disconnectedBy) {
		text = ""
	}
	if j.version >= reasonSince {
		text = escape(text)
	}
	return text
}

// escape is Util.escape.
func escape(text string) string {
	text = escapes.Replace(text)
	for strings.Contains(text, "  ") {
		text = strings.ReplaceAll(text, "  ", "&nbsp; ")
	}
	return text
}

var escapes = strings.NewReplacer("\n", "<br>", "<", "&lt;", ">", "&gt;", "&", "&amp;", `"`, "&quot;", "'", "&#039;")

// setMark sets or lifts the temporary cause of a node.
func (j *Jenkins) setMark(n *node, m *mark) {
	if n.mark != nil && m == nil {
		n.fresh = true
	}
	if m != nil {
		m.at = j.clk.Now()
	}
	n.mark, n.stored = m, nil
	if j.version < causesSince {
		n.lost = mark{}
	}
	j.hookCloses(n)
	j.kick()
}

// forgetMarks is a start of Jenkins before 2.482: the causes are stored with the nodes, and
// a computer learns its cause only when its agent connects.
func (j *Jenkins) forgetMarks() {
	if j.version >= causesSince {
		return
	}
	for _, n := range j.computers {
		if n.mark != nil {
			n.stored, n.mark = n.mark, nil
		}
	}
}

// recallMark shows the stored mark again, because the agent has connected.
func (n *node) recallMark() {
	if n.stored != nil {
		n.mark, n.stored = n.stored, nil
	}
}
