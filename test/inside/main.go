// The Go runtime would keep files of the cgroup open to follow the CPU limit,
// and nothing but the container's own descriptors shall be in the report.

//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command inside runs in a container and prints what it finds there as JSON:
// about its own process, and about each path that it is given. With --notify it
// sends datagrams to a service manager instead, and waits; with --devices it
// tries devices, and with --bomb it forks without end. It is built
// without cgo and needs no library in the container.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"tongs/test/inside/report"
)

func main() {
	// First: every file that is opened from here on would be in the list.
	fds := descriptors()
	if len(os.Args) > 1 && os.Args[1] == "--notify" {
		notify(os.Args[2:])
		return
	}
	if len(os.Args) > 1 && os.Args[1] == "--bomb" {
		bomb()
	}
	if len(os.Args) > 1 && os.Args[1] == "--devices" {
		devices(os.Args[2:])
		return
	}
	r := &report.Report{Descriptors: fds}
	process(r)
	system(r)
	r.Mounts = mounts()
	for _, path := range os.Args[1:] {
		if r.Paths == nil {
			r.Paths = make(map[string]report.Path)
		}
		r.Paths[path] = look(path)
	}
	data, err := json.MarshalIndent(r, "", " ")
	if err == nil {
		_, err = os.Stdout.Write(append(data, '\n'))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
}

// notify sends each text to the socket of NOTIFY_SOCKET, with a descriptor
// beside it, and waits for ever; after the text "exit" it ends.
func notify(texts []string) {
	fail := func(err error) {
		fmt.Fprintln(os.Stderr, "inside:", err)
		os.Exit(1)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0)
	if err != nil {
		fail(err)
	}
	for _, text := range texts {
		if text == "exit" {
			return
		}
		if err := unix.Sendmsg(fd, []byte(text), unix.UnixRights(0), &unix.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}, 0); err != nil {
			fail(err)
		}
	}
	_ = unix.Pause()
	select {}
}

// descriptors reads /proc/self/fd without package os, whose poller has
// descriptors of its own.
func descriptors() map[string]string {
	list := make(map[string]string)
	dir, err := unix.Open("/proc/self/fd", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return list
	}
	defer unix.Close(dir)
	buf := make([]byte, 1<<16)
	for {
		n, err := unix.ReadDirent(dir, buf)
		if err != nil || n <= 0 {
			return list
		}
		_, _, names := unix.ParseDirent(buf[:n], -1, nil)
		for _, name := range names {
			if name == strconv.Itoa(dir) {
				continue
			}
			target := make([]byte, 4096)
			n, err := unix.Readlinkat(dir, name, target)
			if err != nil {
				list[name] = err.Error()
				continue
			}
			list[name] = string(target[:n])
		}
	}
}

func process(r *report.Report) {
	r.PID, r.PPID = os.Getpid(), os.Getppid()
	r.Session, _ = unix.Getsid(0)
	r.Group = unix.Getpgrp()
	r.Args, r.Env = os.Args, os.Environ()
	r.Cwd, _ = unix.Getwd()
	r.Capabilities = make(map[string]string)
	for _, line := range lines("/proc/self/status") {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "Uid":
			r.UIDs = strings.Fields(value)
		case "Gid":
			r.GIDs = strings.Fields(value)
		case "Groups":
			r.Groups = strings.Fields(value)
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb":
			r.Capabilities[key] = value
		case "NoNewPrivs":
			r.NoNewPrivs = value
		case "Seccomp":
			r.Seccomp = value
		case "Umask":
			r.Umask = value
		case "Cpus_allowed_list":
			r.Affinity = value
		}
	}
	r.OOMScoreAdj = first("/proc/self/oom_score_adj")
	r.Limits = make(map[string]string)
	for _, line := range lines("/proc/self/limits") {
		// Columns of fixed width: a name with spaces, soft, hard, unit.
		if len(line) > 67 && !strings.HasPrefix(line, "Limit ") {
			r.Limits[strings.TrimSpace(line[:26])] = strings.Join(strings.Fields(line[26:68]), " ")
		}
	}
	r.Namespaces = make(map[string]string)
	for _, ns := range []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"} {
		r.Namespaces[ns], _ = os.Readlink("/proc/self/ns/" + ns)
	}
	r.Cgroup = lines("/proc/self/cgroup")
	terminal(r)
	policies(r)
}

func terminal(r *report.Report) {
	stat := first("/proc/self/stat")
	if _, rest, ok := strings.Cut(stat, ") "); ok {
		if f := strings.Fields(rest); len(f) > 4 && f[4] != "0" { // tty_nr
			nr, _ := strconv.Atoi(f[4])
			r.Terminal = fmt.Sprintf("%d:%d", unix.Major(uint64(nr)), unix.Minor(uint64(nr)))
		}
	}
	if ws, err := unix.IoctlGetWinsize(0, unix.TIOCGWINSZ); err == nil {
		r.Size = fmt.Sprintf("%d %d", ws.Row, ws.Col)
	}
}

func system(r *report.Report) {
	var u unix.Utsname
	if err := unix.Uname(&u); err == nil {
		r.Hostname, r.Domainname = unix.ByteSliceToString(u.Nodename[:]), unix.ByteSliceToString(u.Domainname[:])
	}
	// KEYCTL_DESCRIBE of the session keyring: "type;uid;gid;perm;name".
	if s, err := unix.KeyctlString(unix.KEYCTL_DESCRIBE, unix.KEY_SPEC_SESSION_KEYRING); err == nil {
		r.Keyring = s[strings.LastIndex(s, ";")+1:]
	} else {
		r.Keyring = err.Error()
	}
	r.SecretKey = "found"
	if _, err := unix.KeyctlSearch(unix.KEY_SPEC_SESSION_KEYRING, "user", report.SecretKey, 0); err != nil {
		r.SecretKey = err.Error()
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if req, err := unix.NewIfreq("lo"); err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req) == nil {
		if req.Uint16()&unix.IFF_UP != 0 {
			r.Loopback = "up"
		} else {
			r.Loopback = "down"
		}
	}
}

// mounts lists each mount behind the one that it lies on. The kernel lists them
// by their numbers (6.8), and a mount may have been made long before it was
// attached.
func mounts() []report.Mount {
	below := map[string][]report.Mount{}
	ids := map[string][]string{}
	all := map[string]bool{}
	var parents []string
	for _, line := range lines("/proc/self/mountinfo") {
		left, right, ok := strings.Cut(line, " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 6 || len(r) < 3 {
			continue
		}
		m := report.Mount{Root: l[3], Point: l[4], Options: l[5], Optional: strings.Join(l[6:], " "), Type: r[0], Source: r[1], SuperBlock: r[2]}
		if _, known := below[l[1]]; !known {
			parents = append(parents, l[1])
		}
		below[l[1]], ids[l[1]], all[l[0]] = append(below[l[1]], m), append(ids[l[1]], l[0]), true
	}
	var list []report.Mount
	var add func(parent string)
	add = func(parent string) {
		for i, m := range below[parent] {
			list = append(list, m)
			if id := ids[parent][i]; id != parent {
				add(id)
			}
		}
	}
	for _, p := range parents {
		if !all[p] {
			add(p)
		}
	}
	return list
}

func look(path string) report.Path {
	var p report.Path
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		p.Error = err.Error()
		return p
	}
	p.Mode = fmt.Sprintf("%04o", st.Mode&0o7777)
	p.Owner = fmt.Sprintf("%d:%d", st.Uid, st.Gid)
	var sfs unix.Statfs_t
	if err := unix.Statfs(path, &sfs); err == nil {
		p.FileSystem = fmt.Sprintf("%#x", sfs.Type)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		p.Type = "link"
		p.Link, _ = os.Readlink(path)
	case unix.S_IFDIR:
		p.Type = "directory"
		directory(&p, path)
	case unix.S_IFREG:
		p.Type = "file"
		file(&p, path)
	case unix.S_IFCHR, unix.S_IFBLK:
		p.Type = map[uint32]string{unix.S_IFCHR: "c", unix.S_IFBLK: "b"}[st.Mode&unix.S_IFMT]
		p.Device = fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
		device(&p, path)
	case unix.S_IFIFO:
		p.Type = "p"
	case unix.S_IFSOCK:
		p.Type = "socket"
	}
	return p
}

func directory(p *report.Path, path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		p.ReadError = reason(err)
	}
	for _, e := range entries {
		p.Names = append(p.Names, e.Name())
	}
	sort.Strings(p.Names)
	f, err := os.CreateTemp(path, "inside")
	if err != nil {
		p.WriteError = reason(err)
		return
	}
	f.Close()
	os.Remove(f.Name())
}

func file(p *report.Path, path string) {
	f, err := os.Open(path)
	if err != nil {
		p.ReadError = reason(err)
	} else {
		buf := make([]byte, 4096)
		n, err := f.Read(buf)
		if n > 0 {
			p.Content = string(buf[:n])
		} else if err != nil && err.Error() != "EOF" {
			p.ReadError = reason(err)
		}
		f.Close()
	}
	if f, err = os.OpenFile(path, os.O_WRONLY, 0); err != nil {
		p.WriteError = reason(err)
		return
	}
	f.Close()
}

// device opens only: nobody knows what a read would do.
func device(p *report.Path, path string) {
	for flag, text := range map[int]*string{unix.O_RDONLY: &p.ReadError, unix.O_WRONLY: &p.WriteError} {
		fd, err := unix.Open(path, flag|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			*text = err.Error()
			continue
		}
		unix.Close(fd)
	}
}

// reason is the error without the path, which may be a temporary name.
func reason(err error) string {
	s := err.Error()
	return s[strings.LastIndex(s, ": ")+len(": "):]
}

func lines(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	var list []string
	for s := bufio.NewScanner(f); s.Scan(); {
		list = append(list, s.Text())
	}
	return list
}

func first(path string) string {
	if l := lines(path); len(l) > 0 {
		return l[0]
	}
	return ""
}
