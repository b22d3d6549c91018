// Package scaler is Bellboard's core: the nouns that every other package meets in, and the one decision that
// is made of them. The package imports the standard library and its own label package. It does no I/O, starts
// no goroutine, logs nothing, and is told the time: the same Input always gives the same Plan.
//
// The path of one tick: see.go joins a view of Jenkins and a view of the cluster by name. One table
// (table.go) gives each pair of a pod and a Jenkins node a Class. match.go matches waiting items to executors
// that are free or coming. up.go says which agents are made, and down.go says which agents go. The result is
// a Plan of actions, each with its reason; explain.go has the words. validate.go checks the plan from the raw
// input, without the code that made it.
package scaler
