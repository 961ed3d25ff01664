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

// ociArchive makes an image archive (image-spec 1.1, image layout) of a tar of a
// root file system, which is its only layer; nothing is compressed.
func ociArchive(t *testing.T, file, layer, name string, entrypoint ...string) {
	t.Helper()
	data, err := os.ReadFile(layer)
	if err != nil {
		t.Fatal(err)
	}
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
	const kind = "application/vnd.oci.image."
	blob := func(mediaType string, data []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		write("blobs/sha256/"+sum, data)
		return object{"mediaType": kind + mediaType, "digest": "sha256:" + sum, "size": len(data)}
	}
	text := func(o object) []byte {
		data, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	write("oci-layout", text(object{"imageLayoutVersion": "1.0.0"}))
	l := blob("layer.v1.tar", data)
	config := blob("config.v1+json", text(object{"architecture": runtime.GOARCH, "os": "linux", "config": object{"Entrypoint": entrypoint},
		"rootfs": object{"type": "layers", "diff_ids": []any{l["digest"]}}}))
	manifest := blob("manifest.v1+json", text(object{"schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": config, "layers": []any{l}}))
	manifest["annotations"] = object{"io.containerd.image.name": name}
	write("index.json", text(object{"schemaVersion": 2, "manifests": []any{manifest}}))
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}
