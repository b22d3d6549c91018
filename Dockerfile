# The base images are arguments: pin them by digest, take them from a mirror, or build
# without a registry (deploy/image/build).
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=scratch

# Go runs on the builder's own architecture, and compiles for the image's.
FROM --platform=${BUILDPLATFORM} ${GO_IMAGE} AS build
# The module proxy, if it is not Go's default.
ARG GOPROXY
WORKDIR /src
# Modules come first: this layer stays until go.mod or go.sum change.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=unknown
ARG REVISION
ARG TARGETARCH
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 GOARCH=${TARGETARCH} go build -trimpath -ldflags "-s -w -X main.version=${VERSION} -X main.commit=${REVISION}" -o /bellboard ./cmd/bellboard

# The image has two files: the certificate authorities, for a Jenkins with a public
# certificate, and the binary.
FROM ${BASE_IMAGE}
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /bellboard /bellboard
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Bellboard" \
      org.opencontainers.image.description="Gives Jenkins exactly as many agents as its queue needs, on Kubernetes" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# A number, since the kubelet cannot tell whether a name is root's. Bellboard writes no file.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/bellboard"]
CMD ["run"]
