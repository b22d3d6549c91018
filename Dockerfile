# The bases are arguments: to pin them by digest, to take them from a mirror, or
# to build where no registry can be reached (deploy/image/build).
ARG GO_IMAGE=golang:1.26
ARG BASE_IMAGE=scratch

FROM ${GO_IMAGE} AS build
# Where modules come from, if not from where Go takes them by itself.
ARG GOPROXY
WORKDIR /src
# The modules come first: this layer stays until go.mod or go.sum change.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ARG VERSION=unknown
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    CGO_ENABLED=0 go build -trimpath -ldflags "-s -w -X main.version=${VERSION}" -o /bellboard ./cmd/bellboard

# Two files: the authorities, for a Jenkins with a public certificate, and the binary.
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
# A number, since kubelet cannot see that a name is not root's. It writes no file.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/bellboard"]
CMD ["run"]
