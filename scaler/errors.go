package scaler

import (
	"cmp"
	"errors"
	"fmt"
	"time"
)

// Errors that the adapters return, wrapped. By them the loop tells one outcome from another.
var (
	ErrExpired = errors.New("too long since the answers it rests on") // not sent: the deadline had passed
	ErrGone    = errors.New("not there")                              // a deletion is then done
	ErrExists  = errors.New("already there")                          // the object to create
	// ErrChanged: a precondition (UID, resourceVersion) did not hold. Nothing was done.
	ErrChanged = errors.New("changed meanwhile")
	// ErrRejected: the server rejected the request (quota, admission, permission), and will reject it again.
	ErrRejected = errors.New("rejected")
	// ErrAway comes from Jenkins' Observe: a request that costs Jenkins nothing got no answer. The next
	// Observe sends that request first.
	ErrAway = errors.New("away")
)

// because is an error with the class that it stands for.
type because[C ~string] struct {
	class C
	error
}

func (b because[C]) Unwrap() error { return b.error }

// Because returns err with the class of an agent's failure that the error stands for.
func Because(f Failure, err error) error { return because[Failure]{f, err} }

// FailureIn returns the class of failure that an error stands for, or "" if there is none.
func FailureIn(err error) Failure {
	b, _ := errors.AsType[because[Failure]](err)
	return b.class
}

// Caused returns an error of Observe with its cause, which is one of the adapter's closed set.
func Caused(c HoldCause, err error) error { return because[HoldCause]{c, err} }

// CauseOf returns the cause of an error of Observe, or CauseOther if the error has none.
func CauseOf(err error) HoldCause {
	b, _ := errors.AsType[because[HoldCause]](err)
	return cmp.Or(b.class, CauseOther)
}

// TooOld returns the error for answers that came too late.
func TooOld(age, limit time.Duration) error {
	return Caused(CauseOld, fmt.Errorf("its answers are %s old, over %s", age, limit))
}
