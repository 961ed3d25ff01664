package setup

import (
	"errors"
	"slices"

	"tongs/internal/kernel"
)

// Many bind sources are not kept open until the container's process inherits
// them, but sent ahead, through a pair of sockets that it inherits instead. The
// kernel makes the table of descriptors larger in steps, at 64, 128, 256 …, and
// in a process of several threads, as every Go program is, each step waits until
// no processor can be using the old table (synchronize_rcu): milliseconds, more
// than a hundred mounts take. The container's process has one thread and never
// waits.
type freight struct {
	far   kernel.Handle // the end that the container's process inherits
	loads [][]*source   // what each message carries
}

// usualSources is how many bind sources are simply inherited: with them, this
// process stays below 64 descriptors.
const usualSources = 16

// perMessage is how many sources a message carries. A socket takes some 250
// messages (unix(7), net.core.wmem_default).
func perMessage(sources int) int { return min(max(usualSources, sources/200), kernel.MaxRights) }

func (e *Env) maxSources() int {
	if e.FewSources {
		return 1
	}
	return usualSources
}

// shipSources opens sources and sends them.
func (e *Env) shipSources(mounts []*mount) error {
	b := e.onHost()
	b.For("mounts", "cannot make sockets for the sources of bind mounts")
	pair := b.Socketpair()
	if err := e.Host.Run(b); err != nil {
		return err
	}
	near, far := pair.Handles()
	e.freight = &freight{far: far}
	e.keep(&e.freight.far)
	size := perMessage(len(mounts))
	if e.FewSources {
		size = 1
	}
	for part := range slices.Chunk(mounts, size) {
		if err := e.ship(near, part); err != nil {
			return err
		}
	}
	b = e.onHost()
	b.Close(near)
	return e.Host.Run(b)
}

// ship sends the sources of some mounts, and closes them here.
func (e *Env) ship(socket kernel.Handle, mounts []*mount) error {
	var load []*source
	var handles []kernel.Handle
	for _, m := range mounts {
		if err := e.openSource(m); err != nil {
			return err
		}
		if s := &e.sources[m.index]; s.h.Valid() { // others are links
			load, handles = append(load, s), append(handles, s.h)
		}
	}
	if len(load) == 0 {
		return nil
	}
	e.freight.loads = append(e.freight.loads, load)
	b := e.onHost()
	b.For("mounts", "cannot send the sources of bind mounts to the container's process")
	b.SendFDs(socket, handles)
	for _, h := range handles {
		b.Close(h)
	}
	return e.Host.Run(b)
}

// receiveSources takes what was sent.
func receiveSources(e *Env) error {
	if e.freight == nil {
		return nil
	}
	for _, load := range e.freight.loads {
		labels := make([]string, len(load))
		for i, s := range load {
			labels[i] = s.h.Label()
		}
		e.B.For("mounts", "cannot receive the sources of bind mounts")
		rights := e.B.ReceiveFDs(e.freight.far, labels)
		e.B.Check(func() error {
			list := rights.Handles()
			if len(list) != len(load) {
				return errors.New("mounts: the container's process did not receive the sources of bind mounts")
			}
			for i, s := range load {
				s.h = list[i]
			}
			return nil
		})
	}
	e.B.Close(e.freight.far)
	return e.run()
}
