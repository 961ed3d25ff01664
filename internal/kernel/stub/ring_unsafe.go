package stub

import (
	"encoding/binary"
	"errors"
	"math"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"tongs/internal/kernel"
	"tongs/internal/kernel/stub/code"
)

// The shared memory: records from its start, the arena of strings and structs
// behind them, each at the same distance from code.Base in the stub.
//
// Threat model: as soon as a process of the container can reach the stub's
// memory (a joined namespace, CAP_SYS_PTRACE), everything here can be a lie.
// So tongs only ever writes requests and reads single words and bytes back:
// a result is loaded once, atomically, and range-checked where it counts or
// names something; no pointer, index or length is taken from here.
const (
	scratchOff = 256 << 10 // what the stub reads and writes on the line
	arenaOff   = scratchOff + 16
	maxRecords = scratchOff / code.RecordSize
	unset      = math.MinInt64 // no system call returns this

	// The second half of the ring, which is written while the stub may still be in
	// the first, and the other way round: small, since both touch all of it.
	middle      = 170
	arenaMiddle = arenaOff + 32<<10
)

var errTooLarge = errors.New("a call's arguments are larger than the shared memory")

type ring struct {
	mem             []byte
	n               int                 // records written
	arena           int                 // next free byte
	limit, arenaEnd int                 // of both
	both            map[*kernel.Mem]int // where memory lies that several calls use
}

func newRing(fd int) (*ring, error) {
	mem, err := unix.Mmap(fd, 0, code.Size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &ring{mem: mem, arena: arenaOff}, nil
}

func (r *ring) close() {
	if r.mem != nil {
		unix.Munmap(r.mem)
		r.mem = nil
	}
}

// word is the 8-byte word at a byte offset. Offsets are our own arithmetic,
// 8-aligned and inside of the mapping: slicing panics otherwise.
func (r *ring) word(off int) *uint64 {
	return (*uint64)(unsafe.Pointer(&r.mem[off : off+8][0]))
}

// begin goes on with record n, where one of the halves begins. If the stub may be in
// the other, or in front of it, the first must do with its own room; behind the
// second is nothing.
func (r *ring) begin(n int, half bool) {
	r.n, r.both = n, nil
	r.arena, r.limit, r.arenaEnd = arenaOff, maxRecords, len(r.mem)
	if n == middle {
		r.arena = arenaMiddle
	} else if half {
		r.limit, r.arenaEnd = middle-restRecords, arenaMiddle
	}
}

// raw is record for a call whose arguments are plain numbers.
func (r *ring) raw(nr uintptr, flags uint64, args ...uint64) {
	var six [6]uint64
	copy(six[:], args)
	r.record(nr, flags, &six)
}

// record writes a record. Its number is stored last, and plus one: a record
// that is not complete is zero and ends the stub.
func (r *ring) record(nr uintptr, flags uint64, args *[6]uint64) {
	off := r.n * code.RecordSize
	words := (*[code.RecordSize / 8]uint64)(unsafe.Pointer(&r.mem[off : off+code.RecordSize][0]))
	copy(words[code.ArgsOff/8:], args[:])
	words[code.FlagsOff/8] = flags
	u := int64(unset)
	words[code.ResultOff/8] = uint64(u)
	atomic.StoreUint64(&words[0], uint64(nr)+1)
	r.n++
}

// jump makes the last record continue with the first.
func (r *ring) jump() { *r.word((r.n-1)*code.RecordSize + code.FlagsOff) |= code.FlagJump }

// end makes the record behind the last one a stop.
func (r *ring) end() { atomic.StoreUint64(r.word(r.n*code.RecordSize), 0) }

func (r *ring) result(index int) int64 {
	return int64(atomic.LoadUint64(r.word(index*code.RecordSize + code.ResultOff)))
}

// call writes a call of batch b, which belongs to part p. It fails if the arena
// has no room.
func (r *ring) call(b *kernel.Batch, c *kernel.Call, p *part) error {
	var args [6]uint64
	var flags uint64
	for i := range c.Args {
		a := &c.Args[i]
		switch a.Kind() {
		case kernel.Int:
			args[i] = a.N
		case kernel.Ref:
			n, index, done := a.H.Number(b)
			from := p
			if done && p.before != nil {
				from = p.before
				_, index, done = a.H.Number(from.b)
				p.uses = p.uses || !done
			}
			args[i] = uint64(n)
			if !done {
				args[i] = code.Base + uint64(from.record(index)*code.RecordSize+code.ResultOff)
				flags |= 1 << i
			}
		case kernel.Memory:
			address, err := r.memory(a.Mem)
			if err != nil {
				return err
			}
			args[i] = address
		}
	}
	if c.AllowAny || len(c.Allowed) > 0 {
		flags |= code.FlagAllow
	}
	if c.ExitPositive {
		flags |= code.FlagExitPositive
	}
	if c.ZeroFatal {
		flags |= code.FlagZeroFatal
	}
	flags |= uint64(c.Skip) << code.SkipShift
	r.record(c.Nr, flags, &args)
	return nil
}

// memory copies m into the arena and returns its address in the stub.
func (r *ring) memory(m *kernel.Mem) (uint64, error) {
	if off, ok := r.both[m]; ok {
		return code.Base + uint64(off), nil
	}
	off := (r.arena + 7) &^ 7
	if off+len(m.Bytes) > r.arenaEnd {
		return 0, errTooLarge
	}
	r.arena = off + len(m.Bytes)
	if !m.Out {
		copy(r.mem[off:], m.Bytes)
	}
	m.At(off)
	if m.Both {
		if r.both == nil {
			r.both = make(map[*kernel.Mem]int)
		}
		r.both[m] = off
	}
	for _, p := range m.Refs {
		address, err := r.memory(p.To)
		if err != nil {
			return 0, err
		}
		binary.NativeEndian.PutUint64(r.mem[off+p.Off:], address)
	}
	return code.Base + uint64(off), nil
}

// fetch copies n bytes that a call wrote, at most the length of our buffer.
func (r *ring) fetch(m *kernel.Mem, n int) { copy(m.Bytes[:n], r.mem[m.Place():]) }
