package jenkinssim

import (
	"strconv"
	"strings"
)

// These are the second numbers of the versions that changed what Jenkins shows.
const (
	quotesSince  = 125 // names in sentences have quotes
	causesSince  = 482 // a mark and a lost connection are two causes
	reasonSince  = 483 // offlineCauseReason is escaped
	createSince  = 539 // POST /computer/createItem
	compositeCut = 542 // a list of refusals ends after five
	escapedSince = 551 // the text of a person's cause is escaped, and its reason twice
	escapedUntil = 568
)

// secondNumber is the 568 of 2.568.1.
func secondNumber(version string) int {
	_, rest, _ := strings.Cut(version, ".")
	second, _, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(second)
	return n
}

// tongue is a language of the sentences.
type tongue int

const (
	english tongue = iota
	german
	japanese
	french
)

// tongueOf reads Accept-Language. Without it Jenkins answers in the language of its own
// machine, which is English here. English also stands in for an unknown language.
func tongueOf(accept string) tongue {
	accept = strings.ToLower(strings.TrimSpace(accept))
	for t, code := range [...]string{german: "de", japanese: "ja", french: "fr"} {
		if code != "" && strings.HasPrefix(accept, code) {
			return tongue(t)
		}
	}
	return english
}

// phrase is one sentence, in any language.
type phrase int

const (
	waits phrase = iota
	waitsOn
	allOffline
	noNodes
	nodeOffline
	lacks
	isReserved
	isRemoved
	slotInUse
	shutsDown
	quietPeriod
)

// words has the sentences as they were seen. Languages differ in the quotes too. English
// stands in for a sentence that a language does not have.
var words = map[phrase][4]string{
	waits: {
		"Waiting for next available executor", "Warte auf den nächsten freien Build-Prozessor",
		"利用可能な次のエグゼキューターを待っています。", "En attente du prochain exécuteur disponible",
	},
	waitsOn: {
		"Waiting for next available executor on ‘{0}’", "Warte auf den nächsten freien Build-Prozessor auf {0}",
		"{0}で利用可能な次のエグゼキューターを待っています。", "En attente du prochain exécuteur disponible sur ‘{0}‘",
	},
	allOffline: {
		"All nodes of label ‘{0}’ are offline", "Alle Knoten des Labels „{0}“ sind offline",
		"ラベル '{0}' のすべてのノードはオフラインです。", `Tous les nœuds avec le libellé "{0}" sont hors ligne`,
	},
	noNodes: {
		"There are no nodes with the label ‘{0}’", "Es gibt keine Knoten mit dem Label „{0}“",
		"", "Aucun nœud avec le libellé ‘{0}’",
	},
	nodeOffline: {"‘{0}’ is offline"},
	lacks:       {"‘{0}’ doesn’t have label ‘{1}’"},
	isReserved:  {"‘{0}’ is reserved for jobs with matching label expression"},
	isRemoved:   {"{0} has been removed from configuration"},
	slotInUse:   {"Executor slot already in use"},
	shutsDown:   {"Jenkins is about to shut down", "Jenkins wird heruntergefahren"},
	quietPeriod: {"In the quiet period. Expires in {0}", "In Ruheperiode. Endet in {0}"},
}

var noQuotes = strings.NewReplacer("n’t", "n't", "‘", "", "’", "")

// say returns a phrase about the names.
func (j *Jenkins) say(t tongue, p phrase, names ...string) string {
	s := words[p][t]
	if s == "" {
		s = words[p][english]
	}
	if j.version < quotesSince {
		s = noQuotes.Replace(s)
	}
	for i, name := range names {
		s = strings.Replace(s, "{"+strconv.Itoa(i)+"}", name, 1)
	}
	return s
}
