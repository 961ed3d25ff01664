package container

import (
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/bundle"
	"tongs/internal/seccomp"
	"tongs/internal/state"
)

// neededLater reports whether start or delete need the configuration.
func neededLater(spec *specs.Spec) bool {
	if h := spec.Hooks; h != nil && len(h.StartContainer)+len(h.Poststart)+len(h.Poststop) > 0 {
		return true
	}
	return spec.Linux != nil && seccomp.Notifies(spec.Linux.Seccomp)
}

// keepConfig keeps the configuration as it is now for start and delete, if they
// need it: the bundle may change, or go before the container.
func (c *creation) keepConfig() error {
	if !neededLater(c.b.Spec) {
		return nil
	}
	return c.dir.WriteConfig(c.b.Raw)
}

// configOf is the configuration that was kept, with nothing in it if nothing of
// it was to be needed.
func configOf(d *state.Dir) (*specs.Spec, error) {
	spec := &specs.Spec{}
	has, err := d.HasConfig()
	if err == nil && has {
		var b *bundle.Bundle
		if b, err = bundle.Load(d.Path()); err == nil {
			spec = b.Spec
		}
	}
	if spec.Hooks == nil {
		spec.Hooks = &specs.Hooks{}
	}
	return spec, err
}
