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

// The classes of what keeps the caches from being current. The set is closed.
const (
	causeForbidden    scaler.HoldCause = "forbidden"
	causeUnauthorized scaler.HoldCause = "unauthorized"
	causeUnavailable  scaler.HoldCause = "unavailable"
)

// Causes lists the classes of Observe's errors.
func Causes() []scaler.HoldCause {
	return []scaler.HoldCause{causeForbidden, causeUnauthorized, causeUnavailable}
}

// staleError returns the error of a cache that err keeps from following the API server.
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

// permanent reports whether no retry mends err: the server rejects the client, or is not the server that the
// client expects.
func permanent(err error) bool {
	cert := (*tls.CertificateVerificationError)(nil)
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) ||
		errors.As(err, &cert) || errors.Is(err, http.ErrSchemeMismatch)
}

// unreachable reports whether no server listens at the address, or the server's name does not exist.
func unreachable(err error) bool {
	dns := (*net.DNSError)(nil)
	return errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, &dns) && dns.IsNotFound
}

// orUnknown returns err, or an error that says that the API server has not answered yet.
func orUnknown(err error) error {
	if err == nil {
		return errors.New("no answer yet")
	}
	return err
}

// wrap adds what Bellboard was doing when err came.
func wrap(doing string, err error) error { return fmt.Errorf("%s: %w", doing, err) }

// statusCode returns the HTTP status of the API server's answer; 0: there is no error, or no answer.
func statusCode(err error) int {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return 0
	}
	return int(status.Status().Code)
}

// rejected reports whether the server understood the request, did nothing, and would answer the same again.
// The reason is a quota, an admission rule, a missing right, or an invalid object.
func rejected(err error) bool {
	switch statusCode(err) {
	case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// outcomeUnknown reports whether a creation that failed with err may have been done nevertheless: there was
// no answer, or something between client and server stopped waiting.
func outcomeUnknown(err error) bool {
	code := statusCode(err)
	return code == 0 || code >= http.StatusInternalServerError
}

// createError gives the error of a creation scaler's meaning, and keeps the server's text.
func createError(err error) error {
	switch {
	case apierrors.IsAlreadyExists(err):
		return fmt.Errorf("%w: %w", scaler.ErrExists, err)
	case rejected(err), apierrors.IsNotFound(err): // not found: the namespace
		return fmt.Errorf("%w: %w", scaler.ErrRefused, err)
	}
	return err
}

// changeError gives the error of a patch or a deletion scaler's meaning, and keeps the server's text.
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
