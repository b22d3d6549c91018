package pool

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"syscall"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"bellboard/scaler"
)

// The classes of what keeps the caches from being trusted: a closed set.
const (
	causeForbidden    scaler.HoldCause = "forbidden"
	causeUnauthorized scaler.HoldCause = "unauthorized"
	causeUnavailable  scaler.HoldCause = "unavailable"
)

// Causes lists the classes of Observe's errors.
func Causes() []scaler.HoldCause {
	return []scaler.HoldCause{causeForbidden, causeUnauthorized, causeUnavailable}
}

// staleError is the error of a cache that err keeps from following the API server.
func staleError(doing string, err error) error {
	cause := causeUnavailable
	switch {
	case apierrors.IsForbidden(err):
		cause = causeForbidden
	case apierrors.IsUnauthorized(err):
		cause = causeUnauthorized
	}
	return scaler.Caused(cause, wrap(doing, orUnknown(err)))
}

// permanent: no retry would mend it. The server says no, or is not the one it should be.
func permanent(err error) bool {
	cert := (*tls.CertificateVerificationError)(nil)
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || errors.As(err, &cert) || errors.Is(err, http.ErrSchemeMismatch)
}

// unreachable: no server listens there, or there is no such name.
func unreachable(err error) bool {
	dns := (*net.DNSError)(nil)
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns) && dns.IsNotFound
}

// errUnknown stands for a reason that nobody has given yet.
var errUnknown = errors.New("no answer yet")

func orUnknown(err error) error {
	if err == nil {
		return errUnknown
	}
	return err
}

// wrap says what was being done when err came.
func wrap(doing string, err error) error { return fmt.Errorf("%s: %w", doing, err) }

// rejected: the server understood and will say the same again (quota, admission,
// permission, a pod that cannot be). It has done nothing.
func rejected(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return false
	}
	switch status.Status().Code {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// createError gives the error of a creation its meaning, and keeps the server's words.
func createError(err error) error {
	switch {
	case apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%w: %w", scaler.ErrExists, err)
	case rejected(err), apierrors.IsNotFound(err): // not found: the namespace
		return fmt.Errorf("%w: %w", scaler.ErrRefused, err)
	}
	return err
}

// changeError does the same for a change or a deletion.
func changeError(err error) error {
	switch {
	case apierrors.IsNotFound(err):
		return fmt.Errorf("%w: %w", scaler.ErrGone, err)
	case apierrors.IsConflict(err):
		return fmt.Errorf("%w: %w", scaler.ErrChanged, err)
	case rejected(err):
		return fmt.Errorf("%w: %w", scaler.ErrRefused, err)
	}
	return err
}

// outcomeUnknown reports an error that leaves open whether a creation was done: no answer,
// or one that something on the way gave up waiting.
func outcomeUnknown(err error) bool {
	var status apierrors.APIStatus
	return !errors.As(err, &status) || status.Status().Code >= http.StatusInternalServerError
}
