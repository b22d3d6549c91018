//go:build e2enode

package node

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
)

// The images of the Kubernetes node, by the names in Bellboard's pods. All are one file system: Debian with a Docker
// that is older than the names say.
const (
	agentImage = "bellboard.test/jenkins/inbound-agent:1"
	pauseImage = "bellboard.test/pause:1"
)

// imageConfig is the command of an image's containers.
type imageConfig struct {
	Entrypoint []string
	Env        []string
	User       string `json:",omitempty"`
}

// writeImages writes a docker-archive: the layers of all images, and the images by name.
func writeImages(to io.Writer, layers []string, images map[string]imageConfig) error {
	type manifest struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	w := tar.NewWriter(to)
	put := func(name string, b []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b))}); err != nil {
			return err
		}
		_, err := w.Write(b)
		return err
	}
	var names, sums []string
	for _, file := range layers {
		sum, err := putLayer(w, file)
		if err != nil {
			return err
		}
		names, sums = append(names, sum+".tar"), append(sums, "sha256:"+sum)
	}
	var all []manifest
	for name, c := range images {
		b, err := json.Marshal(map[string]any{
			"architecture": "amd64", "os": "linux", "config": c, "rootfs": map[string]any{"type": "layers", "diff_ids": sums},
		})
		if err != nil {
			return err
		}
		sum := sha256.Sum256(b)
		config := hex.EncodeToString(sum[:]) + ".json"
		if err := put(config, b); err != nil {
			return err
		}
		all = append(all, manifest{Config: config, RepoTags: []string{name}, Layers: names})
	}
	b, err := json.Marshal(all)
	if err != nil {
		return err
	}
	if err := put("manifest.json", b); err != nil {
		return err
	}
	return w.Close()
}

func putLayer(w *tar.Writer, file string) (sum string, err error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return "", err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if err := w.WriteHeader(&tar.Header{Name: sum + ".tar", Mode: 0o644, Size: size}); err != nil {
		return "", err
	}
	_, err = io.Copy(w, f)
	return sum, err
}

// writeAgentLayer makes the layer with this binary at the path where an agent's image has its own.
func writeAgentLayer(file string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "usr/local/bin/" + agentName, Mode: 0o755, Size: int64(len(b))}); err != nil {
		return err
	}
	if _, err := w.Write(b); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return os.WriteFile(file, layer.Bytes(), 0o600)
}

// tiny is an image of a registry. It has one empty file. It cannot run, but containers can be created from
// it.
const tiny = "tiny"

// registry returns a registry that has only tiny, under every tag.
func registry() http.Handler {
	var layer, packed bytes.Buffer
	w := tar.NewWriter(&layer)
	_ = w.WriteHeader(&tar.Header{Name: "nothing", Mode: 0o755}) // none of these can fail in memory
	_ = w.Close()
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(layer.Bytes())
	_ = z.Close()
	digest := func(b []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(b)) }
	object := func(v any) []byte { b, _ := json.Marshal(v); return b }
	config := object(map[string]any{
		"architecture": "amd64", "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(layer.Bytes())}},
	})
	const docker = "application/vnd.docker."
	part := func(kind string, b []byte) map[string]any {
		return map[string]any{"mediaType": docker + kind, "size": len(b), "digest": digest(b)}
	}
	manifest := object(map[string]any{
		"schemaVersion": 2, "mediaType": docker + "distribution.manifest.v2+json",
		"config": part("container.image.v1+json", config), "layers": []any{part("image.rootfs.diff.tar.gzip", packed.Bytes())},
	})
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v2/{$}", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /v2/library/"+tiny+"/manifests/{reference}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", docker+"distribution.manifest.v2+json")
		w.Header().Set("Docker-Content-Digest", digest(manifest))
		w.Header().Set("Content-Length", strconv.Itoa(len(manifest)))
		_, _ = w.Write(manifest) // an error is the daemon's, which says so
	})
	mux.HandleFunc("GET /v2/library/"+tiny+"/blobs/{digest}", func(w http.ResponseWriter, r *http.Request) {
		for _, b := range [][]byte{config, packed.Bytes()} {
			if r.PathValue("digest") == digest(b) {
				_, _ = w.Write(b)
				return
			}
		}
		http.NotFound(w, r)
	})
	return mux
}
