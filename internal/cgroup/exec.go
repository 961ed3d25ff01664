package cgroup

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Sub is a place below a container's cgroup, from --cgroup of exec.
type Sub struct {
	Names []string // v1 controllers; empty: all
	Path  string   // clean, with a leading slash
}

// ParseSub reads "path" and "controller[,controller]:path".
func ParseSub(list []string) ([]Sub, error) {
	var subs []Sub
	for _, text := range list {
		var s Sub
		if names, p, ok := strings.Cut(text, ":"); ok {
			s.Names, text = strings.Split(names, ","), p
		}
		if text == "" || slices.Contains(strings.Split(text, "/"), "..") {
			return nil, fmt.Errorf("%q is not a path below the container's cgroup", text)
		}
		s.Path = path.Clean("/" + text)
		subs = append(subs, s)
	}
	return subs, nil
}

// Existing returns the group for a further process: it is joined as it is, also
// if systemd has made it.
func (g *Group) Existing() *Group {
	return &Group{unified: g.unified, rootless: g.rootless, hierarchies: slices.Clone(g.hierarchies), fd: -1, knowsOwned: true}
}

// Sub returns the group with the directories that subs say, which must exist.
func (g *Group) Sub(subs []Sub) (*Group, error) {
	at := g.Existing()
	for _, s := range subs {
		if g.unified && len(s.Names) > 0 {
			return nil, fmt.Errorf("controllers %q cannot be named on cgroup v2", s.Names)
		}
		found := map[string]bool{}
		for i, h := range g.hierarchies {
			for _, name := range h.Names {
				if len(s.Names) == 0 || slices.Contains(s.Names, name) {
					at.hierarchies[i].Dir = path.Join(h.Dir, s.Path)
					found[name] = true
				}
			}
		}
		for _, name := range s.Names {
			if !found[name] {
				return nil, fmt.Errorf("unknown controller %q", name)
			}
		}
	}
	return at, nil
}

// Of returns the cgroups of a process as /proc has them, by controller; "" is
// cgroup v2.
func Of(pid int) (map[string]string, error) {
	text, err := readFile("/proc/"+strconv.Itoa(pid), "cgroup")
	if err != nil {
		return nil, fmt.Errorf("cannot find the cgroup of process %d: %w", pid, err)
	}
	return parseOwnCgroups(text)
}

// Current returns the group where a process of the container is, which must be
// the container's or below it.
func (g *Group) Current(pid int) (*Group, error) {
	in, err := Of(pid)
	if err != nil {
		return nil, err
	}
	at := g.Existing()
	for i, h := range g.hierarchies {
		own := in[h.Names[0]]
		// The mount may show a part of the hierarchy only.
		dir := h.Dir[len(h.Mountpoint):]
		j := strings.LastIndex(own+"/", dir+"/")
		if j < 0 || slices.Contains(strings.Split(own, "/"), "..") {
			return nil, errors.New("the container's first process is outside of the container's cgroup")
		}
		at.hierarchies[i].Dir = h.Mountpoint + own[j:]
	}
	return at, nil
}
