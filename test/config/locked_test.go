package config

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	"tongs/internal/linuxtest"
)

// mappedRoot has all that root of a user namespace needs to change mounts.
func mappedRoot(s *specs.Spec) {
	mapped(s)
	names := []string{"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_SYS_CHROOT", "CAP_SYS_ADMIN"}
	s.Process.Capabilities = &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	s.Root.Readonly = false
}

// Who is root of a container's user namespace, and may change its mounts, cannot
// take back what the host has set on those that it was given, nor look below what
// is mounted in them (mount_namespaces(7)), though the host's root has started it.
func TestLockedMounts(t *testing.T) {
	linuxtest.Each(t, func(t *testing.T, h *linuxtest.Host) {
		dir := func(name string, mode os.FileMode) string {
			path := filepath.Join(h.Dir, name)
			if err := os.Mkdir(path, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
		mount := func(source, target, fstype string, flags uintptr) {
			if err := syscall.Mount(source, target, fstype, flags, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Unmount(target, syscall.MNT_DETACH) })
		}
		dir("closed", 0o700) // the container's root cannot reach what is in it
		readOnly := dir("closed/readonly", 0o777)
		mount("none", readOnly, "tmpfs", 0)
		mount("", readOnly, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY|syscall.MS_NOSUID) // the mount, not the file system
		volume := dir("closed/volume", 0o755)
		if err := os.WriteFile(dir("closed/volume/sub", 0o755)+"/hidden", nil, 0o644); err != nil {
			t.Fatal(err)
		}
		mount("none", volume+"/sub", "tmpfs", 0)
		idmapped := linuxtest.Mount("/tmp", "bind", readOnly, "rbind", "ridmap")
		for name, c := range map[string]struct {
			script string
			edits  []linuxtest.Edit
		}{
			"read-only":          {"mount -o remount,bind,rw /tmp && touch /tmp/x", []linuxtest.Edit{linuxtest.Mount("/tmp", "bind", readOnly, "rbind")}},
			"read-only, mapped":  {"mount -o remount,bind,rw /tmp && touch /tmp/x", []linuxtest.Edit{idmapped}},
			"set-id programs":    {"mount -o remount,bind,ro,suid /tmp", []linuxtest.Edit{linuxtest.Mount("/tmp", "bind", readOnly, "bind")}},
			"what lies below":    {"umount /tmp/sub && cat /tmp/sub/hidden", []linuxtest.Edit{linuxtest.Mount("/tmp", "bind", volume, "rbind")}},
			"a copy without it":  {"mount --bind /tmp /proc && cat /proc/sub/hidden", []linuxtest.Edit{linuxtest.Mount("/tmp", "bind", volume, "rbind")}},
			"cgroups":            {"[ -e /sys/fs/cgroup/cgroup.procs ] && mount -o remount,bind,rw /sys/fs/cgroup", []linuxtest.Edit{linuxtest.WithoutNamespace(specs.CgroupNamespace)}},
			"the root directory": {"mount -o remount,bind,rw / && touch /x", nil},
		} {
			h.Sub(t, name, func(t *testing.T, h *linuxtest.Host) {
				edits := append([]linuxtest.Edit{mappedRoot}, c.edits...)
				bundle := h.Bundle(append(edits, linuxtest.Shell("[ -e /bin/sh ] && ( "+c.script+" ) >/dev/null 2>&1 && echo worked || echo refused"))...)
				if name == "the root directory" {
					root := bundle + "/rootfs"
					if err := os.Chmod(root, 0o777); err != nil {
						t.Fatal(err)
					}
					mount(root, root, "", syscall.MS_BIND)
					mount("", root, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY)
				}
				r := h.Must("run", "--bundle", bundle, h.ID("a"))
				linuxtest.Equal(t, c.script, strings.TrimSpace(r.Stdout), "refused")
			})
		}
		h.Sub(t, "bind that is not recursive", func(t *testing.T, h *linuxtest.Host) {
			r := h.Run("run", "--bundle", h.Bundle(mappedRoot, linuxtest.Mount("/tmp", "bind", volume, "bind")), h.ID("a"))
			linuxtest.Equal(t, "status", r.Status, 1)
			for _, w := range []string{"mounts[7].source", "EINVAL", "rbind"} {
				if !strings.Contains(r.Stderr, w) {
					t.Errorf("%q is not in %q", w, r.Stderr)
				}
			}
		})
	})
}
