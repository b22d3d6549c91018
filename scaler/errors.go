package scaler

import (
	"errors"
	"fmt"
	"time"
)

// Errors that the adapters return, wrapped. By them the loop tells one outcome from another.
var (
	// ErrExpired: the deadline had passed before the write was sent. Nothing was sent.
	ErrExpired = errors.New("too long since the answers it rests on")
	// ErrGone: the object to change or delete is not there. For a deletion that means done.
	ErrGone = errors.New("not there")
	// ErrExists: the object to create is there already.
	ErrExists = errors.New("already there")
	// ErrChanged: a precondition (UID, resourceVersion) did not hold. Nothing was done.
	ErrChanged = errors.New("changed meanwhile")
	// ErrRejected: the server understood the request and rejected it (quota, admission, permission). Nothing
	// was done, and the server will reject the same request again.
	ErrRejected = errors.New("rejected")
	// ErrAway comes from Jenkins' Observe: Jenkins answers nothing at all. A request that costs Jenkins
	// nothing has shown that. The next Observe sends that request first.
	ErrAway = errors.New("away")
)

// Because returns err with the class of an agent's failure that the error stands for.
func Because(f Failure, err error) error { return because{f, err} }

type because struct {
	failure Failure
	error
}

func (b because) Unwrap() error { return b.error }

// FailureIn returns the class of failure that an error stands for, or "" if there is none.
func FailureIn(err error) Failure {
	if b := (because{}); errors.As(err, &b) {
		return b.failure
	}
	return ""
}

// Caused returns an error of Observe with its cause, which is one of the adapter's closed set.
func Caused(c HoldCause, err error) error { return caused{c, err} }

type caused struct {
	cause HoldCause
	error
}

func (c caused) Unwrap() error { return c.error }

// CauseOf returns the cause of an error of Observe, or CauseOther if the error has none.
func CauseOf(err error) HoldCause {
	if c := (caused{}); errors.As(err, &c) {
		return c.cause
	}
	return CauseOther
}

// TooOld returns the error for answers that came too late.
func TooOld(age, limit time.Duration) error {
	return Caused(CauseOld, fmt.Errorf("its answers are %s old, over %s", age, limit))
}
