package stub

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
)

var modelTime = flag.Duration("model", 0, "how long TestLateModel runs; 0: for a few programs")

// deed is one step of a random program: a call, or a child with all that belongs to
// it. What it does depends on what was done before, and on nothing else.
type deed struct {
	kind int
	n    int
	text string
	ref  int // an earlier deed whose result is an argument, -1 for none
}

const (
	maskDeed  = iota // umask(n) or of a result
	seekDeed         // lseek(file, n)
	dupDeed          // dup3(file, copies+n)
	closeDeed        // close(copies+n)
	writeDeed        // write(file or a copy, text)
	readDeed         // read(file, n bytes)
	pathDeed         // chdir(text), which fails
	statDeed         // statx(file)
	pidDeed          // getppid, a result that others use
	childDeed        // vfork: write and exit(n), poll, wait, status
	slowDeed         // ppoll for n microseconds: the stub falls behind
	deedKinds
)

const copies = 500 // above all pidfds of children

// done is what a deed has given.
type done struct {
	h    kernel.Handle
	buf  *kernel.Buffer
	stat *kernel.Stat
}

func (d *done) text() string {
	n, _, _ := d.h.Number(nil)
	s := fmt.Sprint(n, " ", d.h.Errno())
	if d.buf != nil {
		s += fmt.Sprintf(" %q", d.buf.Bytes())
	}
	if d.stat != nil {
		s += fmt.Sprint(" ", d.stat.Size(), d.stat.Mode())
	}
	return s
}

// add puts the deed into a batch. all are those before.
func (d *deed) add(b *kernel.Batch, i int, file kernel.Handle, all []done) done {
	b.For(fmt.Sprintf("deed[%d]", i), "cannot do")
	arg := kernel.N(uint64(d.n))
	if d.ref >= 0 {
		arg = kernel.R(all[d.ref].h)
	}
	switch d.kind {
	case maskDeed:
		if d.ref < 0 {
			return done{h: b.Umask(uint32(d.n)).Last()}
		}
		return done{h: b.Raw("umask", unix.SYS_UMASK, arg).Result}
	case seekDeed:
		h := b.Lseek(file, arg, unix.SEEK_SET)
		b.Allow()
		return done{h: h}
	case dupDeed:
		return done{h: b.Dup3(file, copies+d.n, unix.O_CLOEXEC)}
	case closeDeed:
		return done{h: b.Close(kernel.NewHandle(int64(copies+d.n), "copy")).Allow(unix.EBADF).Last()}
	case writeDeed:
		to := file
		if d.ref >= 0 {
			to = all[d.ref].h
		}
		return done{h: b.Write(to, d.text).Allow(unix.EBADF, unix.EFBIG).Last()}
	case readDeed:
		f := b.Read(file, 1+d.n)
		return done{h: b.Last(), buf: f}
	case pathDeed:
		return done{h: b.Chdir(d.text).Allow(unix.ENOENT, unix.ENAMETOOLONG).Last()}
	case statDeed:
		st := b.Stat(file)
		return done{h: b.Last(), stat: st}
	case pidDeed:
		return done{h: b.Raw("getppid", unix.SYS_GETPPID).Result}
	case childDeed:
		c := b.Vfork(func() { b.Write(file, d.text).ExitGroup(d.n % 256) })
		b.PollEnd(c, 10).WaitChild(c).WriteStatus(c, file).RequireSuccess(c)
		return done{h: b.Allow(unix.EAGAIN).Last()}
	default:
		ts := []byte{8: byte(d.n), 9: byte(d.n >> 8), 10: byte(d.n >> 16), 15: 0}
		return done{h: b.Raw("ppoll", unix.SYS_PPOLL, kernel.N(0), kernel.N(0), kernel.Arg{Mem: &kernel.Mem{Bytes: ts}}, kernel.N(0), kernel.N(0)).Result}
	}
}

// randomDeed makes a deed that may use what others before it have given.
func randomDeed(rng *rand.Rand, i int, kinds []int) deed {
	d := deed{kind: rng.IntN(deedKinds), n: rng.IntN(0o1000), ref: -1}
	switch d.kind {
	case writeDeed, childDeed, pathDeed:
		d.text = strings.Repeat(string(rune('a'+rng.IntN(26))), 1+randomSize(rng))
	case dupDeed, closeDeed:
		d.n = rng.IntN(30)
	case readDeed:
		d.n = randomSize(rng)
	case slowDeed:
		if d.n = 1000 * rng.IntN(300); rng.IntN(4) > 0 {
			d.kind = maskDeed
		}
	}
	if i == 0 || rng.IntN(2) == 0 {
		return d
	}
	from := i - 1 - rng.IntN(min(i, 1+rng.IntN(500))) // mostly near
	switch d.kind {
	case maskDeed, seekDeed:
		if kinds[from] == maskDeed || kinds[from] == seekDeed || kinds[from] == pidDeed || kinds[from] == writeDeed {
			d.ref = from
		}
	case writeDeed:
		if kinds[from] == dupDeed {
			d.ref = from
		}
	}
	return d
}

// randomSize is mostly small, and now and then larger than a half's memory.
func randomSize(rng *rand.Rand) int {
	switch rng.IntN(60) {
	case 0:
		return rng.IntN(48 << 10)
	case 1, 2, 3:
		return rng.IntN(5000)
	}
	return rng.IntN(60)
}

func randomProgram(rng *rand.Rand) []deed {
	list := make([]deed, 1+rng.IntN(3000))
	kinds := make([]int, len(list))
	for i := range list {
		list[i] = randomDeed(rng, i, kinds)
		kinds[i] = list[i].kind
	}
	return list
}

// scratch starts a stub that has an empty file, which is open here as well.
func scratch(t *testing.T) (*Stub, *os.File) {
	t.Helper()
	fd, err := unix.MemfdCreate("scratch", unix.MFD_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	f := os.NewFile(uintptr(fd), "scratch")
	s := launch(t, Config{Inherit: []kernel.Handle{handle(f)}, Timeout: 20 * time.Second})
	return s, f
}

// alone executes the deeds one at a time, and says what each gave and what the file
// has in the end.
func alone(t *testing.T, program []deed) (given []string, content []byte) {
	s, f := scratch(t)
	defer f.Close()
	all := make([]done, len(program))
	for i := range program {
		b := &kernel.Batch{}
		all[i] = program[i].add(b, i, s.Inherited()[0], all)
		if err := s.Run(b); err != nil {
			t.Fatalf("one at a time: %v", err)
		}
		given = append(given, all[i].text())
	}
	content = fileContent(t, f)
	s.Kill()
	s.Close()
	return given, content
}

func fileContent(t *testing.T, f *os.File) []byte {
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > 64<<20 { // a seek led far away
		return nil
	}
	data := make([]byte, info.Size())
	if n, err := f.ReadAt(data, 0); n != len(data) {
		t.Fatal(err)
	}
	return data
}

// session executes a program in batches of random sizes, as setup.Env does: three
// that are filled in turn.
type session struct {
	t       *testing.T
	s       *Stub
	rng     *rand.Rand
	program []deed
	want    []string
	all     []done
	batch   *kernel.Batch
	passed  [2]*kernel.Batch
	runs    int   // batches handed on
	checked []int // runs whose checks have run, in order
	fail    int   // the run whose check fails, -1 for none
}

var errModel = errors.New("the check that fails")

// check looks at what a batch has given.
func (x *session) check(from, to int) func() error {
	run, nested, late := x.runs, x.rng.IntN(5) == 0, x.rng.IntN(5) == 0
	return func() error {
		x.checked = append(x.checked, run)
		x.compare(from, to, "in the check")
		if nested {
			more := &kernel.Batch{}
			st, pid := more.StatPath("/proc"), more.Getpid()
			if late && to > from { // a result that may be on its way
				more.Raw("lseek", unix.SYS_LSEEK, kernel.R(x.all[to-1].h), kernel.N(0), kernel.N(unix.SEEK_CUR))
				more.Allow()
			}
			if err := x.s.Run(more); err != nil {
				return err
			}
			if st.Type() != unix.S_IFDIR || pid.Count(1<<30) != x.s.PID {
				x.t.Errorf("a batch of the check of %d: mode %o, pid %d", run, st.Mode(), pid.Count(1<<30))
			}
		}
		if run == x.fail {
			return errModel
		}
		return nil
	}
}

func (x *session) compare(from, to int, when string) {
	for i := from; i < to; i++ {
		if got := x.all[i].text(); got != x.want[i] && !x.t.Failed() {
			x.t.Errorf("%s: deed %d (kind %d, n %d, ref %d): got %.200s, want %.200s", when, i, x.program[i].kind, x.program[i].n, x.program[i].ref, got, x.want[i])
		}
	}
}

// next fills a batch from deed first on and runs it.
func (x *session) next(first int) (end int, err error) {
	b, size := x.batch, 0
	switch x.rng.IntN(8) {
	case 0: // nothing, or checks only
	case 1, 2:
		size = 1 + x.rng.IntN(400)
	case 3:
		size = 150 + x.rng.IntN(25)
	default:
		size = 1 + x.rng.IntN(170)
	}
	end = first
	for end < len(x.program) && len(b.Calls) < size {
		x.all[end] = x.program[end].add(b, end, x.s.Inherited()[0], x.all)
		end++
	}
	b.Check(x.check(first, end))
	times := x.meanwhile(b)
	b.Late = x.rng.IntN(4) > 0
	x.runs++
	if err := x.s.Run(b); err != nil {
		return end, err
	}
	if b.Late && b.Meanwhile == nil && size > 0 {
		x.promised(x.runs - 2)
	} else {
		x.promised(x.runs)
	}
	if *times != 1 && !x.t.Failed() {
		x.t.Errorf("what is done meanwhile was done %d times", *times)
	}
	x.rotate()
	return end, nil
}

// meanwhile gives some batches something to be done meanwhile: the last call waits for
// a descriptor that is sent then.
func (x *session) meanwhile(b *kernel.Batch) (times *int) {
	times = new(int)
	if x.rng.IntN(8) > 0 {
		*times = 1
		return times
	}
	b.For("meanwhile", "cannot receive")
	got, run := b.ReceiveFD(x.s.Line(), "sent"), x.runs
	b.Meanwhile = func() error {
		*times++
		return x.s.SendFD(x.s.line)
	}
	b.Check(func() error {
		if _, ok := got.Handle(); !ok {
			x.t.Errorf("in run %d no descriptor came", run)
		}
		return nil
	})
	return times
}

// end takes what is still on its way: by a batch, or by the last calls.
func (x *session) end() error {
	b := &kernel.Batch{}
	if x.rng.IntN(2) == 0 {
		return x.s.Run(b)
	}
	b.CloseRange(3, unix.CLOSE_RANGE_CLOEXEC)
	b.Execve("/bin/true", []string{"true"}, nil)
	return x.s.Exec(b)
}

// promised fails unless the checks of the first n batches have run, once each.
func (x *session) promised(n int) {
	for i, run := range x.checked {
		if run != i && !x.t.Failed() {
			x.t.Errorf("check %d was run as number %d", run, i)
		}
	}
	if len(x.checked) < n && !x.t.Failed() {
		x.t.Errorf("%d of %d batches are over, %d should be", len(x.checked), x.runs, n)
	}
}

func (x *session) rotate() {
	next := x.passed[0]
	if next == nil {
		next = &kernel.Batch{Expect: 160}
	}
	next.Reset()
	x.passed[0], x.passed[1], x.batch = x.passed[1], x.batch, next
}

// play executes the program and compares all that it gave.
func play(t *testing.T, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 1))
	program := randomProgram(rng)
	want, content := alone(t, program)
	s, f := scratch(t)
	defer f.Close()
	x := &session{t: t, s: s, rng: rng, program: program, want: want, all: make([]done, len(program)), batch: &kernel.Batch{Expect: 160}, fail: -1}
	if rng.IntN(4) == 0 {
		x.fail = rng.IntN(12)
	}
	var err error
	for first := 0; first < len(program) && err == nil && !t.Failed(); {
		first, err = x.next(first)
	}
	if err == nil {
		err = x.end()
	}
	if x.fail >= 0 && len(x.checked) > x.fail && errors.Is(err, errModel) {
		return
	}
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	x.promised(x.runs)
	x.compare(0, len(program), "in the end")
	if got := fileContent(t, f); !bytes.Equal(got, content) {
		t.Errorf("the file has %d bytes, want %d, or others", len(got), len(content))
	}
	s.Kill()
	s.Close()
}

// Whatever comes in batches, late or not, gives what it gives call by call.
func TestLateModel(t *testing.T) {
	seed := uint64(1)
	for end := time.Now().Add(*modelTime); seed <= 12 || time.Now().Before(end); seed++ {
		if play(t, seed); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
	t.Logf("%d programs", seed-1)
}
