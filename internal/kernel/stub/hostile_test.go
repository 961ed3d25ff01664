package stub

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

const hostileTimeout = 100 * time.Millisecond

// hostile is a Stub whose other side is played by the test: the shared memory
// and the far end of its line are the test's, the process behind it is a real
// stub that waits for ever.
type hostile struct {
	*Stub
	t    testing.TB
	far  int    // the other end of the line, -1 once closed
	line int    // the real stub's line
	mem  []byte // the shared memory, outlives the Stub's mapping
	null int
}

func newHostile(t testing.TB) *hostile {
	t.Helper()
	s := launch(t, Config{Timeout: hostileTimeout})
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	null, err := unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	h := &hostile{Stub: s, t: t, far: pair[1], line: s.line, mem: s.ring.mem, null: null}
	s.line, s.owed, s.next = pair[0], 0, firstRecord
	s.ring.mem = h.mem
	t.Cleanup(func() {
		h.hangUp()
		unix.Close(h.line)
		unix.Close(null)
	})
	return h
}

func (h *hostile) hangUp() {
	if h.far >= 0 {
		unix.Close(h.far)
		h.far = -1
	}
}

func (h *hostile) set(off int, v uint64) { binary.NativeEndian.PutUint64(h.mem[off:], v) }

func (h *hostile) result(call int, v int64) {
	h.set((firstRecord+call)*code.RecordSize+code.ResultOff, uint64(v))
}

func (h *hostile) say(b ...byte) {
	unix.SendmsgN(h.far, b, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
}

func (h *hostile) sendFDs(n int) {
	fds := make([]int, n)
	for i := range fds {
		fds[i] = h.null
	}
	unix.SendmsgN(h.far, []byte{'f'}, unix.UnixRights(fds...), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
}

// released waits until tongs releases a round, and reports whether it did
// before it gave up, which the descriptor tells.
func (h *hostile) released(gaveUp int) bool {
	fds := []unix.PollFd{{Fd: int32(h.far), Events: unix.POLLIN}, {Fd: int32(gaveUp)}}
	for {
		if _, err := unix.Poll(fds, 5000); err != unix.EINTR {
			break
		}
	}
	if fds[0].Revents&unix.POLLIN == 0 {
		return false
	}
	n, err := unix.Read(h.far, make([]byte, 1))
	return n == 1 && err == nil
}

// questions is a batch that reads everything back that can be read back.
type questions struct {
	kernel.Batch
	opened  []kernel.Handle
	buffers []*kernel.Buffer
	stat    *kernel.Stat
	fs      *kernel.Statfs
}

const questionCount = 9

func ask() *questions {
	q := &questions{}
	q.For("mounts[0]", "cannot see")
	root := q.Openat2(kernel.CWD(), "/", unix.O_PATH, 0, 0)
	sub := q.Openat2(root, "proc", unix.O_PATH, 0, kernel.InRoot)
	q.Allow(unix.ENOENT)
	tree := q.OpenTree(sub, "", unix.OPEN_TREE_CLONE)
	q.Allow()
	q.opened = []kernel.Handle{root, sub, tree}
	q.stat = q.Batch.Stat(sub)
	q.fs = q.Fstatfs(sub)
	q.Allow()
	q.buffers = []*kernel.Buffer{q.Read(root, 100), q.Readlinkat(sub), q.Getcwd()}
	q.Close(root).Allow()
	return q
}

// check looks at everything that a caller may look at.
func (q *questions) check(t testing.TB) {
	t.Helper()
	for i, h := range q.opened {
		if n, _, ok := h.Number(&q.Batch); ok && (n > maxDescriptor || n < -4095) {
			t.Errorf("handle %d is %d", i, n)
		}
		h.Errno()
	}
	for i, b := range q.buffers {
		if n := len(b.Bytes()); n > unix.PathMax {
			t.Errorf("buffer %d has %d bytes", i, n)
		}
	}
	_, _, _, _ = q.stat.Mode(), q.stat.MountID(), q.stat.Dev(), q.fs.Type()
}

// drive runs f with the other side of b played by answer, and checks that it
// returns within its bound, which is counted from the answer on: a busy machine
// must not make it a late one.
func (h *hostile) drive(answer func(), b *kernel.Batch, f func(*kernel.Batch) error) error {
	h.t.Helper()
	var gaveUp [2]int
	if err := unix.Pipe2(gaveUp[:], unix.O_CLOEXEC); err != nil {
		h.t.Fatal(err)
	}
	defer unix.Close(gaveUp[0])
	done := make(chan bool)
	go func() {
		defer close(done)
		if h.released(gaveUp[0]) {
			answer()
		}
	}()
	b.Meanwhile = func() error { <-done; return nil }
	var err error
	// One timeout for the answer, one for the end of the process.
	within(h.t, 2*hostileTimeout+3*time.Second, func() { err = f(b) })
	unix.Close(gaveUp[1])
	<-done
	return err
}

func TestHostileAnswers(t *testing.T) {
	answered := func(h *hostile, n int64) {
		for i := range questionCount {
			h.result(i, n)
		}
	}
	impossible := `mounts[0]: cannot see: openat2(<cwd>, "/", {O_PATH, 00, 0x0}, 24): the container's process gave the impossible result `
	for _, c := range []struct {
		name   string
		answer func(h *hostile)
		want   string // the error, "" for none
	}{
		{"honest numbers", func(h *hostile) { answered(h, 3); h.say(0) }, ""},
		{"huge descriptors", func(h *hostile) { answered(h, maxDescriptor+1); h.say(0) }, impossible + "1073741825"},
		{"the largest number", func(h *hostile) { answered(h, math.MaxInt64); h.say(0) }, impossible + "9223372036854775807"},
		{"no error number", func(h *hostile) { answered(h, -4096); h.say(0) }, impossible + "-4096"},
		{"the smallest number", func(h *hostile) { answered(h, math.MinInt64+1); h.say(0) }, impossible + "-9223372036854775807"},
		{"a report without results", func(h *hostile) { h.say(0) },
			`mounts[0]: cannot see: openat2(<cwd>, "/", {O_PATH, 00, 0x0}, 24): the container's process reported calls that it did not execute`},
		{"a result in the middle missing", func(h *hostile) { answered(h, 3); h.result(4, unset); h.say(0) },
			`mounts[0]: cannot see: fstatfs(<proc>, [out 120]): the container's process reported calls that it did not execute`},
		{"silence", func(h *hostile) { answered(h, 3) }, "the container's process did not answer within 100ms"},
		{"a failed call, and life goes on", func(h *hostile) { h.result(0, -1); h.say(0) },
			`mounts[0]: cannot see: openat2(<cwd>, "/", {O_PATH, 00, 0x0}, 24): operation not permitted (EPERM)`},
		{"a line that is closed, and life goes on", func(h *hostile) { h.hangUp() },
			`mounts[0]: cannot see: openat2(<cwd>, "/", {O_PATH, 00, 0x0}, 24): the container's process closed its line and did not end`},
		{"a line that is shut down", func(h *hostile) { answered(h, 3); unix.Shutdown(h.Stub.line, unix.SHUT_RDWR) },
			"the container's process closed its line and did not end"},
		{"urgent data", func(h *hostile) { unix.SendmsgN(h.far, []byte{1}, nil, nil, unix.MSG_OOB) },
			`mounts[0]: cannot see: openat2(<cwd>, "/", {O_PATH, 00, 0x0}, 24): the container's process did not answer within 100ms`},
		{"descriptors and no report", func(h *hostile) { answered(h, 3); h.sendFDs(1); h.sendFDs(4); h.sendFDs(200) },
			"the container's process did not answer within 100ms"},
		{"descriptors and a report", func(h *hostile) { answered(h, 3); h.sendFDs(3); h.sendFDs(1); h.say(0) }, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHostile(t)
			q := ask()
			err := h.drive(func() { c.answer(h) }, &q.Batch, h.Run)
			if got := message(err); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			q.check(t)
			if c.want == "" {
				return
			}
			if !gone(h.PID) {
				t.Error("a stub that lies was not ended")
			}
			if h.Run(&q.Batch) == nil {
				t.Error("a stub that lied was used again")
			}
		})
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestUnsolicitedDescriptors(t *testing.T) {
	h := newHostile(t)
	before := openFDs()
	for range 3 {
		q := ask()
		err := h.drive(func() {
			for i := range questionCount {
				h.result(i, 5)
			}
			h.sendFDs(1)
			h.sendFDs(5)
			h.say(0)
		}, &q.Batch, h.Run)
		if err != nil {
			t.Fatal(err)
		}
	}
	if left := newFDs(before); len(left) != 1 {
		t.Errorf("%v were kept, want one", left)
	}
	fd := h.TakeFD()
	if h.TakeFD() != -1 {
		t.Error("a descriptor was given out twice")
	}
	unix.Close(fd)
	if left := newFDs(before); len(left) != 0 {
		t.Errorf("%v were left", left)
	}
}

// A stub that answers without ever taking a byte from its line fills it. Then
// tongs must not wait in its send for room.
func TestHostileDoesNotRead(t *testing.T) {
	h := newHostile(t)
	for i := 0; ; i++ {
		if i == 100000 {
			t.Fatal("the line has no end")
		}
		h.say(0)
		b := &kernel.Batch{}
		b.Umask(0)
		var err error
		within(t, 5*time.Second, func() { err = h.Run(b) })
		if err == nil {
			t.Fatal("the batch was not executed, and Run says that it was")
		}
		if message(err) == "umask(00): the container's process cannot be given work: resource temporarily unavailable" {
			return
		}
		h.lost, h.reaped = nil, true // once more
	}
}

func TestHostileExtraBytes(t *testing.T) {
	h := newHostile(t)
	all := func() {
		for i := range questionCount {
			h.result(i, 3)
		}
		h.say(0, 0, 0)
	}
	q := ask()
	if err := h.drive(all, &q.Batch, h.Run); err != nil {
		t.Fatal(err)
	}
	q = ask() // answered by the extra byte, before anything was executed
	if err := h.Run(&q.Batch); err == nil {
		t.Error("an answer from before the question was taken")
	}
	q.check(t)
}

func TestHostileLastCalls(t *testing.T) {
	for _, c := range []struct {
		name       string
		answer     func(h *hostile)
		park, exec string // the errors
	}{
		{"a report", func(h *hostile) { h.say(0) },
			"", `a: cannot b: umask(00): the container's process reported before it executed its program`},
		{"execve begun, line closed", func(h *hostile) { h.result(0, 0); h.hangUp() }, "", ""},
		{"line closed too early", func(h *hostile) { h.hangUp() },
			"a: cannot b: umask(00): the container's process closed its line and did not end",
			"a: cannot b: umask(00): the container's process closed its line and did not end"},
		{"execve that returned a success", func(h *hostile) { h.result(0, 0); h.result(1, 0); h.hangUp() },
			"the container's process closed its line and did not end", "the container's process closed its line and did not end"},
		{"execve that failed", func(h *hostile) { h.result(0, 0); h.result(1, -2); h.hangUp() },
			`a: cannot b: execve("/x", ["/x"], ["a=b"]): no such file or directory (ENOENT)`,
			`a: cannot b: execve("/x", ["/x"], ["a=b"]): no such file or directory (ENOENT)`},
		{"silence", func(h *hostile) {},
			"a: cannot b: umask(00): the container's process did not answer within 100ms",
			"a: cannot b: umask(00): the container's process did not answer within 100ms"},
	} {
		for _, park := range []bool{true, false} {
			h := newHostile(t)
			b := &kernel.Batch{}
			b.For("a", "cannot b").Umask(0).Execve("/x", []string{"/x"}, []string{"a=b"})
			f, want := h.Exec, c.exec
			if park {
				f, want = h.Park, c.park
			}
			err := h.drive(func() { c.answer(h) }, b, f)
			if got := message(err); got != want {
				t.Errorf("%s, park %v:\ngot  %s\nwant %s", c.name, park, got, want)
			}
		}
	}
}

// FuzzHostileStub plays the other side by the bytes of its input: whatever it
// does, tongs returns in time, does not panic, and believes nothing that is
// out of range.
func FuzzHostileStub(f *testing.F) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 40 {
		script := make([]byte, 40+rng.IntN(200))
		for i := range script {
			script[i] = byte(rng.Uint32())
		}
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script []byte) {
		before := openFDs()
		t.Run("play", func(t *testing.T) {
			h := newHostile(t)
			p := &player{hostile: h, script: script}
			for range 3 {
				q := ask()
				h.drive(p.answer, &q.Batch, h.Run)
				q.check(t)
			}
			q := ask()
			q.Execve("/x", []string{"/x"}, nil)
			last := h.Exec
			if p.next()&1 == 0 {
				last = h.Park
			}
			h.drive(p.answer, &q.Batch, last)
			q.check(t)
		})
		if left := newFDs(before); len(left) > 0 {
			t.Errorf("descriptors were left: %v", left)
		}
	})
}

// player is a hostile stub that follows a script.
type player struct {
	*hostile
	script []byte
}

func (p *player) next() byte {
	if len(p.script) == 0 {
		return 0
	}
	b := p.script[0]
	p.script = p.script[1:]
	return b
}

// number is an integer that is likely to be trouble.
func (p *player) number() int64 {
	b := p.next()
	table := []int64{0, 1, -1, -2, -4095, -4096, math.MinInt64, math.MinInt64 + 1, math.MaxInt64, math.MaxInt32, math.MaxInt32 + 1,
		maxDescriptor, maxDescriptor + 1, code.Size, code.Base, 1 << 32, -1 << 32, 4096, 4097, 3}
	if int(b) < len(table) {
		return table[b]
	}
	return int64(b)
}

// answer does up to a few dozen things and ends with a report, mostly.
func (p *player) answer() {
	for range int(p.next()) % 24 {
		switch p.next() % 16 {
		case 0, 1, 2, 3:
			p.result(int(p.next())%16, p.number())
		case 4, 5, 6:
			for i := range questionCount + 1 {
				p.result(i, p.number())
			}
		case 7:
			p.set(8*(int(p.next())<<8|int(p.next())), uint64(p.number()))
		case 8:
			for off := range 4096 {
				p.mem[arenaOff+off] = p.next()
			}
		case 9:
			p.say(0)
		case 10:
			p.say(p.next(), p.next(), p.next())
		case 11:
			p.sendFDs(1 + int(p.next())%8)
		case 12:
			unix.SendmsgN(p.far, []byte{p.next()}, nil, nil, unix.MSG_OOB|unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
		case 13:
			for off := 0; off < maxRecords*code.RecordSize; off += 8 {
				p.set(off, uint64(p.next()))
			}
		case 14:
			if p.next() < 64 {
				p.hangUp()
				return
			}
		case 15:
			if p.next() < 64 {
				unix.Kill(p.PID, unix.SIGKILL)
			}
		}
	}
	if p.next() < 230 {
		p.say(0)
	}
}
