package code

import (
	"encoding/binary"
	"math/rand/v2"

	"golang.org/x/sys/unix"
)

// generator makes random programs. Most of them do things that the model is
// not sure of, or never end; those are thrown away.
type generator struct {
	*rand.Rand
	nr    table
	mem   []byte
	n     int          // records of the program
	fixed map[int]bool // records whose result slot holds a value on purpose
}

func (g *generator) program() []byte {
	g.mem = make([]byte, usedSize)
	g.n = 2 + g.IntN(24)
	g.fixed = map[int]bool{}
	for i := range maxRecord {
		g.put(i*RecordSize+ResultOff, g.pick(0, 1, 8, 100, pageSize, ^uint64(0), 1<<63))
	}
	for i := range arenaSize / 8 {
		g.put(arenaAt+8*i, g.Uint64())
	}
	for t := range 8 { // whole records that the program may put over others
		g.record(arenaAt+t*RecordSize, g.IntN(g.n))
	}
	for i := range g.n {
		if g.IntN(60) > 0 {
			g.record(i*RecordSize, i)
		}
	}
	if g.IntN(2) == 0 {
		last := (g.n-1)*RecordSize + FlagsOff
		g.put(last, binary.NativeEndian.Uint64(g.mem[last:])|FlagJump)
	}
	return g.mem
}

func (g *generator) put(off int, v uint64) { binary.NativeEndian.PutUint64(g.mem[off:], v) }

func (g *generator) pick(list ...uint64) uint64 { return list[g.IntN(len(list))] }

func (g *generator) chance(percent int) bool { return g.IntN(100) < percent }

// record writes a random record at off, for a program that executes it as its
// record number i.
func (g *generator) record(off, i int) {
	op, args := g.call(i)
	var flags uint64
	for k, v := range args {
		g.put(off+ArgsOff+8*k, v)
		if g.chance(30) {
			g.put(off+ArgsOff+8*k, Base+uint64(g.slot(i, v)*RecordSize+ResultOff))
			flags |= 1 << k
		}
	}
	for _, f := range []struct {
		flag    uint64
		percent int
	}{{FlagAllow, 85}, {FlagZeroFatal, 10}, {FlagExitPositive, 10}, {FlagJump, 8}} {
		if g.chance(f.percent) {
			flags |= f.flag
		}
	}
	if g.chance(10) {
		flags &= 1<<6 - 1
	}
	if g.chance(15) {
		flags |= g.pick(1, 2, 5) << SkipShift
	}
	g.put(off+FlagsOff, flags)
	g.put(off, g.nr[op]+1)
}

// slot returns a record from whose result to take an argument: an earlier
// one, or one that has not run and is given the value.
func (g *generator) slot(i int, v uint64) int {
	if i > 0 && g.chance(40) {
		return g.IntN(i)
	}
	for range 10 {
		j := i + 1 + g.IntN(maxRecord-i-1)
		if !g.fixed[j] {
			g.fixed[j] = true
			g.put(j*RecordSize+ResultOff, v)
			return j
		}
	}
	return g.IntN(maxRecord)
}

func (g *generator) call(i int) (op int, args [6]uint64) {
	fd := g.pick(dataFD, dataFD, recordIn, byteTo, 100, 101, 102, ^uint64(0), 17, 1000)
	buffer := uint64(Base + arenaAt + 8*RecordSize + 8*g.IntN(64))
	page := mapAt + pageSize*uint64(g.IntN(4))
	switch op = g.IntN(opCount); op {
	case opUmask:
		args = [6]uint64{g.pick(0, 0, 0, 0, 0o22, 0o777, g.Uint64()), g.Uint64(), g.Uint64()}
	case opClose:
		args[0] = g.pick(100, 101, 102, 103, 1000, 17, ^uint64(0))
	case opDup:
		args = [6]uint64{fd, unix.F_DUPFD, 100 + g.Uint64N(3)}
	case opSeek:
		args = [6]uint64{fd, g.pick(0, 0, 0, 1, 8, pageSize, 2*pageSize, 70000, ^uint64(0)), g.Uint64N(3)}
	case opPread:
		args = [6]uint64{fd, g.pick(buffer, buffer, buffer, page, 8), g.Uint64N(64), g.pick(0, 8, 4000, dataSize-8, dataSize, ^uint64(0))}
	case opRead:
		args = [6]uint64{byteIn, buffer, 1 + g.Uint64N(64)}
		if g.chance(60) {
			args = [6]uint64{recordIn, Base + uint64(g.IntN(g.n)*RecordSize), RecordSize}
		}
	case opWrite:
		args = [6]uint64{byteTo, g.pick(buffer, buffer, page, page+100, 8), g.Uint64N(64)}
		if g.chance(60) {
			args = [6]uint64{recordTo, Base + arenaAt + uint64(g.IntN(8)*RecordSize), RecordSize}
		}
	case opMmap:
		args = [6]uint64{page, pageSize, unix.PROT_READ, unix.MAP_SHARED | unix.MAP_FIXED, fd, g.pick(0, pageSize, 3*pageSize, 8)}
	case opExit:
		args[0] = g.Uint64N(300)
		if g.chance(70) { // not too often
			return opNone, args
		}
	}
	return op, args
}
