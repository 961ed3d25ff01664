package criu

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// idleLimit is how long a CRIU may do nothing before it counts as hanging. How
	// long it works has no bound: memory may have to go through a network.
	idleLimit = 2 * time.Minute
	// lookEvery is how often it is looked at.
	lookEvery = 5 * time.Second
)

// progress is what changes while CRIU works: the size of its log, and the
// processor time of this process's descendants, CRIU and what it restores among
// them, in clock ticks. (A configuration file may take away either the log or what
// is in it.)
type progress struct{ log, ticks int64 }

func (o *Options) progress() progress {
	dir := o.WorkDir
	if dir < 0 {
		dir = o.ImagesDir
	}
	var st unix.Stat_t
	_ = unix.Fstatat(dir, o.LogFile, &st, unix.AT_SYMLINK_NOFOLLOW) // there may be none yet
	return progress{st.Size, descendants("/proc/self", 0)}
}

// deepest bounds the descent, since processes come and go meanwhile.
const deepest = 64

// descendants gives the time that all below a process have used.
func descendants(process string, depth int) (ticks int64) {
	lists, _ := filepath.Glob(process + "/task/*/children") // none of a process that has ended
	if depth > deepest {
		return 0
	}
	for _, list := range lists {
		pids, _ := os.ReadFile(list)
		for pid := range strings.FieldsSeq(string(pids)) {
			ticks += used(pid) + descendants("/proc/"+pid, depth+1)
		}
	}
	return ticks
}

// used is utime, stime, cutime and cstime of a process (proc_pid_stat(5)), 0 if it
// has ended.
func used(pid string) (ticks int64) {
	data, _ := os.ReadFile("/proc/" + pid + "/stat")
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 15 {
		return 0
	}
	for _, f := range fields[11:15] {
		n, _ := strconv.ParseInt(string(f), 10, 64) // a number, of the kernel's
		ticks += n
	}
	return ticks
}

// watch waits for a message as long as CRIU does something.
func (s *Session) watch(o *Options) error {
	last, since := o.progress(), time.Now()
	for {
		ready, err := s.poll(min(lookEvery, s.idle))
		if ready || err != nil {
			return err
		}
		if now := o.progress(); now != last {
			last, since = now, time.Now()
		} else if time.Since(since) >= s.idle {
			return fmt.Errorf("it has done nothing for %v", s.idle)
		}
	}
}
