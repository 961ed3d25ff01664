package engines

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"testing"
)

// object is JSON in the making.
type object map[string]any

// image is an image of one layer, which is not compressed (image-spec 1.1).
type image struct {
	blobs    map[string][]byte // by digest
	manifest object            // descriptor of one of them
}

const imageType = "application/vnd.oci.image."

// newImage makes an image of a tar of a root file system and the configuration
// (User, Entrypoint) of its containers.
func newImage(t *testing.T, layer []byte, config object) image {
	t.Helper()
	i := image{blobs: make(map[string][]byte)}
	add := func(mediaType string, data []byte) object {
		digest := fmt.Sprintf("sha256:%x", sha256.Sum256(data))
		i.blobs[digest] = data
		return object{"mediaType": imageType + mediaType, "digest": digest, "size": len(data)}
	}
	l := add("layer.v1.tar", layer)
	c := add("config.v1+json", text(t, object{"architecture": runtime.GOARCH, "os": "linux", "config": config,
		"rootfs": object{"type": "layers", "diff_ids": []any{l["digest"]}}}))
	i.manifest = add("manifest.v1+json", text(t, object{"schemaVersion": 2, "mediaType": imageType + "manifest.v1+json", "config": c, "layers": []any{l}}))
	return i
}

func text(t *testing.T, o object) []byte {
	t.Helper()
	data, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// ociArchive makes an image archive (image-spec 1.1, image layout) of a tar of a
// root file system.
func ociArchive(t *testing.T, file, layer, name string, entrypoint ...string) {
	t.Helper()
	data, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
	i := newImage(t, data, object{"Entrypoint": entrypoint})
	i.manifest["annotations"] = object{"io.containerd.image.name": name}
	out, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	w := tar.NewWriter(out)
	write := func(name string, data []byte) {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(data))}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(data); err != nil {
			t.Fatal(err)
		}
	}
	write("oci-layout", text(t, object{"imageLayoutVersion": "1.0.0"}))
	for digest, data := range i.blobs {
		write("blobs/sha256/"+digest[len("sha256:"):], data)
	}
	write("index.json", text(t, object{"schemaVersion": 2, "manifests": []any{i.manifest}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
