// Package deploy holds what runs Bellboard in a cluster and what goes into the
// Jenkins beside it. It promises that all of it is in the binary's module as it
// is shipped, so that tests read the very files that people apply. It has no
// code, and nothing in the daemon needs it.
package deploy

import "embed"

// Files is install.yaml and the folders alerts, grafana and jenkins, as far as they exist: a
// pattern embeds what it finds, a name would have to be there.
//
//go:embed install.yaml [agj]*
var Files embed.FS
