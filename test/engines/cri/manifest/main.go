// manifest FILE CRIO: decodes the objects of a manifest by Kubernetes' own types,
// strictly, and prints what a test wants to know: the handler of the RuntimeClass, and
// the script of the DaemonSet. CRIO is a configuration of CRI-O's, which must have
// that handler.
package main

import (
	"bytes"
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
	apps "k8s.io/api/apps/v1"
	node "k8s.io/api/node/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(file, crio string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	parts := bytes.Split(data, []byte("\n---\n"))
	if len(parts) != 2 {
		return fmt.Errorf("%d objects, want 2", len(parts))
	}
	var class node.RuntimeClass
	if err := yaml.UnmarshalStrict(parts[0], &class); err != nil {
		return err
	}
	var set apps.DaemonSet
	if err := yaml.UnmarshalStrict(parts[1], &set); err != nil {
		return err
	}
	c := set.Spec.Template.Spec.Containers[0]
	if class.Kind != "RuntimeClass" || set.Kind != "DaemonSet" || len(c.Command) != 3 {
		return fmt.Errorf("the objects are not as expected: %s, %s, %q", class.Kind, set.Kind, c.Command)
	}
	if s := set.Spec.Selector.MatchLabels["app"]; s == "" || s != set.Spec.Template.Labels["app"] {
		return fmt.Errorf("the DaemonSet does not select its pods: %q", s)
	}
	if err := checkCRIO(crio, class.Handler); err != nil {
		return err
	}
	fmt.Printf("%s\n%s\n", class.Handler, c.Command[2])
	return nil
}

// checkCRIO decodes what crio.conf(5) has for runtimes.
func checkCRIO(file, handler string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var config struct {
		CRIO struct {
			Runtime struct {
				Runtimes map[string]struct {
					Path string `toml:"runtime_path"`
					Type string `toml:"runtime_type"`
					Root string `toml:"runtime_root"`
				} `toml:"runtimes"`
			} `toml:"runtime"`
		} `toml:"crio"`
	}
	if err := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields().Decode(&config); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	r, ok := config.CRIO.Runtime.Runtimes[handler]
	if !ok || r.Type != "oci" || r.Path == "" || r.Root == "" {
		return fmt.Errorf("%s has no runtime %q: %+v", file, handler, config)
	}
	return nil
}
