package engines

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
)

// registry serves images to an engine, whatever registry it believes to ask
// (distribution-spec 1.1, pull).
type registry struct {
	images map[string]image // by name and tag
	blobs  map[string][]byte
}

// serve begins to serve on a loopback device, that of the calling thread, until
// the test ends.
func (r *registry) serve(t *testing.T) (address string) {
	t.Helper()
	r.blobs = make(map[string][]byte)
	for _, i := range r.images {
		for digest, data := range i.blobs {
			r.blobs[digest] = data
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: r}
	ended := make(chan error)
	go func() { ended <- server.Serve(l) }()
	t.Cleanup(func() {
		server.Close()
		<-ended
	})
	return l.Addr().String()
}

// ServeHTTP knows /v2/, /v2/NAME/manifests/TAG-OR-DIGEST and /v2/NAME/blobs/DIGEST.
func (r *registry) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	path := strings.TrimPrefix(request.URL.Path, "/v2/")
	name, reference, _ := strings.Cut(path, "/manifests/")
	if reference == "" {
		name, reference, _ = strings.Cut(path, "/blobs/")
	}
	digest := reference
	if i, ok := r.images[name+":"+reference]; ok {
		digest = i.manifest["digest"].(string)
	}
	data, ok := r.blobs[digest]
	switch {
	case path == "":
		return
	case !ok:
		http.NotFound(w, request)
		return
	case strings.Contains(path, "/manifests/"):
		w.Header().Set("Content-Type", imageType+"manifest.v1+json")
	}
	w.Header().Set("Docker-Content-Digest", digest)
	w.Header().Set("Content-Length", fmt.Sprint(len(data)))
	if request.Method != http.MethodHead {
		w.Write(data)
	}
}
