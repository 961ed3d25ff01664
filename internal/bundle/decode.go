package bundle

import (
	"fmt"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Limits on hostile input. Each is far above any real configuration; together
// they bound the memory that a decoded document can take. One of 16 MiB can
// hold millions of "{}", each worth up to a hundred bytes once decoded.
const (
	maxSize    = 16 << 20 // bytes in a document
	maxDepth   = 64       // nesting; the specification itself needs 6
	maxMembers = 1 << 19  // in one array or object; execve(2) takes as many arguments as fit into 6 MiB
	maxValues  = 1 << 20  // in one document
)

// Decode decodes a config.json. It is strict where encoding/json is lenient:
//
//   - keys match exactly, with regard to case: a configuration that has been
//     inspected by another program must not mean something else to us;
//   - a key that comes twice in an object is an error, everywhere;
//   - numbers must be integers in the range of the field: no 1e3, no 1.0;
//   - strings must be valid UTF-8, without lone surrogates and without NUL,
//     which would end a path or argument early in the kernel;
//   - nothing but white space may follow, and no byte order mark may lead.
//
// null stands for an absent value. Unknown keys are ignored, as runtime-spec
// 1.3, config § Extensibility, demands, but give a warning each. The strings
// of the result share one copy of data. The first error ends decoding.
func Decode(data []byte) (*specs.Spec, []string, error) {
	spec := new(specs.Spec)
	d := newDecoder(data, "", configName)
	warnings, err := document(d, spec, decodeSpec)
	if err != nil {
		return nil, nil, err
	}
	return spec, warnings, nil
}

// DecodeProcess decodes the file of `exec -p` by the rules of Decode. Paths in
// errors and warnings begin with "process", as the same field's in config.json.
func DecodeProcess(data []byte) (*specs.Process, []string, error) {
	process := new(specs.Process)
	warnings, err := document(newDecoder(data, "process", ""), process, decodeProcess)
	if err != nil {
		return nil, nil, err
	}
	return process, warnings, nil
}

// DecodeResources decodes the file of `update -r` by the rules of Decode.
// Paths in errors and warnings begin with "linux.resources".
func DecodeResources(data []byte) (*specs.LinuxResources, []string, error) {
	resources := new(specs.LinuxResources)
	d := newDecoder(data, "linux.resources", "")
	warnings, err := document(d, resources, decodeLinuxResources)
	if err != nil {
		return nil, nil, err
	}
	return resources, warnings, nil
}

func newDecoder(data []byte, root, file string) *decoder {
	// One copy of the whole document makes every plain string in it free.
	return &decoder{data: string(data), root: root, file: file, path: make([]step, 0, 16)}
}

// document decodes the one object that d holds.
func document[T any](d *decoder, v *T, f func(*decoder, *T)) ([]string, error) {
	const mark = "\xef\xbb\xbf"
	switch {
	case len(d.data) > maxSize:
		return nil, d.plain(fmt.Sprintf("%d bytes, more than the limit of %d", len(d.data), maxSize))
	case strings.HasPrefix(d.data, mark):
		return nil, d.plain("starts with a byte order mark; write it as UTF-8 without one")
	}
	switch c := d.peek(); {
	case c == 0 && d.pos == len(d.data):
		return nil, d.plain("the document is empty")
	case c != '{': // also null, which would be an empty configuration
		d.mismatch("an object")
		return nil, d.err
	}
	f(d, v)
	d.end()
	if d.err != nil {
		return nil, d.err
	}
	return d.allWarnings(), nil
}

// plain is an error about the document as a whole.
func (d *decoder) plain(text string) error {
	if d.root != "" {
		return fmt.Errorf("%s: %s", d.root, text)
	}
	return fmt.Errorf("%s: %s", d.file, text)
}
