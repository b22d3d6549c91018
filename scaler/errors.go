package scaler

import (
	"errors"
	"fmt"
	"time"
)

// Errors that the adapters return, wrapped, so that the loop can tell them apart.
var (
	// ErrLate: the deadline had passed before the write was sent; nothing was sent.
	ErrLate = errors.New("too long since the answers it rests on")
	// ErrGone: the thing to change or delete is not there (done, for a deletion).
	ErrGone = errors.New("not there")
	// ErrExists: the thing to create is there already.
	ErrExists = errors.New("already there")
	// ErrChanged: a precondition (UID, resourceVersion) did not hold; nothing was done.
	ErrChanged = errors.New("changed meanwhile")
	// ErrRefused: the server understood and said no (quota, admission, permission);
	// nothing was done, and the same again will be refused again.
	ErrRefused = errors.New("refused")
	// ErrAway, of Jenkins' Observe: Jenkins answers nothing at all, as a question that
	// costs it nothing has shown. The next Observe asks that question first.
	ErrAway = errors.New("away")
)

// Because gives an error the class of an agent's failure that it stands for.
func Because(f Failure, err error) error { return because{f, err} }

type because struct {
	failure Failure
	error
}

func (b because) Unwrap() error { return b.error }

// FailureIn is the class that an error stands for; "" is none.
func FailureIn(err error) Failure {
	if b := (because{}); errors.As(err, &b) {
		return b.failure
	}
	return ""
}

// Caused gives an error of Observe its class, of the adapter's closed set.
func Caused(c HoldCause, err error) error { return caused{c, err} }

type caused struct {
	cause HoldCause
	error
}

func (c caused) Unwrap() error { return c.error }

// CauseOf is the class of an error of Observe.
func CauseOf(err error) HoldCause {
	if c := (caused{}); errors.As(err, &c) {
		return c.cause
	}
	return CauseOther
}

// TooOld is the error of answers that came too late.
func TooOld(age, limit time.Duration) error {
	return Caused(CauseOld, fmt.Errorf("its answers are %s old, over %s", age, limit))
}
