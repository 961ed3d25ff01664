package code

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// table is the system call numbers of an architecture, by a call's place in
// the list of op constants.
type table [opCount]uint64

const (
	opGetppid = iota
	opUmask
	opClose
	opDup   // fcntl(fd, F_DUPFD, at least)
	opSeek  // lseek(fd, offset, whence)
	opPread // pread64(fd, buffer, size, offset)
	opRead
	opWrite
	opMmap
	opExit // exit_group
	opNone // a number that no call has
	opCount
)

func tables() map[string]table {
	return map[string]table{
		"amd64": {110, 95, 3, 72, 8, 17, 0, 1, 9, 231, 1500},
		"arm64": {173, 166, 57, 25, 62, 67, 63, 64, 222, 94, 1500},
	}
}

// The part of the memory that programs use, and the descriptors that the
// process under test starts with. The memory's own number is argc and varies.
const (
	maxRecord = 48
	arenaAt   = maxRecord * RecordSize
	arenaSize = 2048
	usedSize  = arenaAt + arenaSize

	firstFD  = 10
	recordIn = 10 // pipe of whole records: a program that changes itself
	recordTo = 11
	byteIn   = 12 // pipe of bytes
	byteTo   = 13
	dataFD   = 14 // a file
	lastFD   = 14
	dupFrom  = 100

	dataSize = 64 << 10
	mapAt    = 0x200000000 // where programs map the file
	pageSize = 4096
)

// unsure is what the model says of a call whose result it does not know:
// then the program is not run.
type unsure struct{ what string }

func (u unsure) Error() string { return u.what }

// model is the loop of doc.go and as much of the kernel as programs use.
type model struct {
	mem   []byte
	nr    table
	ppid  int64
	umask uint64
	open  map[uint64]uint64 // descriptor → one of the first ones
	pos   uint64            // of the file
	data  []byte
	pipes map[uint64][]byte // by the reading end
	maps  map[uint64]uint64 // mapped page → offset in the file
	steps int
	seen  map[deed]int // what the programs exercised
}

func (m *model) word(off uint64) uint64 { return binary.NativeEndian.Uint64(m.mem[off:]) }

// run executes the program in m.mem and returns the exit status.
func (m *model) run(limit int) (status int, err error) {
	r := uint64(0)
	for ; m.steps < limit; m.steps++ {
		if r+RecordSize > uint64(len(m.mem)) {
			return 0, unsure{"the program runs out of the memory"}
		}
		number := m.word(r)
		if number == 0 {
			return ExitStatus, nil
		}
		var args [6]uint64
		flags := m.word(r + FlagsOff)
		for k := range args {
			args[k] = m.word(r + ArgsOff + 8*uint64(k))
			if flags&(1<<k) != 0 {
				m.seen[deed{flag: 1 << k}]++
				if args[k] < Base || args[k]-Base > uint64(len(m.mem))-8 {
					return 0, unsure{"a result outside of the memory"}
				}
				args[k] = m.word(args[k] - Base)
			}
		}
		if number-1 == m.nr[opExit] {
			return int(args[0] & 0xff), nil
		}
		result, err := m.call(number-1, args)
		if err != nil {
			return 0, err
		}
		binary.NativeEndian.PutUint64(m.mem[r+ResultOff:], uint64(result))
		m.count(flags, result)
		switch {
		case result < 0 && flags&FlagAllow == 0, result == 0 && flags&FlagZeroFatal != 0, result > 0 && flags&FlagExitPositive != 0:
			return ExitStatus, nil
		case flags&FlagJump != 0:
			r = 0
		default:
			if skip := flags >> SkipShift; result > 0 && skip > 0 {
				if skip > maxRecord {
					return 0, unsure{"a skip out of the program"}
				}
				m.seen[deed{flag: 1 << SkipShift, sign: 1}]++
				r += skip * RecordSize
			}
			r += RecordSize
		}
	}
	return 0, unsure{"the program does not end"}
}

// deed is something that a program did: a flag that met a result of a sign,
// an argument that came from a result, a record that it overwrote.
type deed struct {
	flag        uint64 // 0: none
	sign        int
	overwritten bool
}

// count notes each flag with each sign of a result.
func (m *model) count(flags uint64, result int64) {
	sign := 0
	if result < 0 {
		sign = -1
	} else if result > 0 {
		sign = 1
	}
	for flag := uint64(FlagAllow); flag <= FlagJump; flag <<= 1 {
		if flags&flag != 0 {
			m.seen[deed{flag: flag, sign: sign}]++
		}
	}
	if flags == 0 {
		m.seen[deed{sign: sign}]++
	}
}

func (m *model) call(number uint64, a [6]uint64) (int64, error) {
	op := -1
	for i, n := range m.nr {
		if n == number {
			op = i
		}
	}
	switch op {
	case opGetppid:
		return m.ppid, nil
	case opUmask:
		old := m.umask
		m.umask = a[0] & 0o777
		return int64(old), nil
	case opNone:
		return -int64(unix.ENOSYS), nil
	case opClose:
		return m.close(a[0])
	case opDup:
		return m.dup(a[0], a[1], a[2])
	case opSeek:
		return m.seek(a[0], int64(a[1]), a[2])
	case opPread:
		return m.pread(a[0], a[1], a[2], int64(a[3]))
	case opRead:
		return m.read(a[0], a[1], a[2])
	case opWrite:
		return m.write(a[0], a[1], a[2])
	case opMmap:
		return m.mmap(a)
	}
	return 0, unsure{fmt.Sprintf("system call %d", number)}
}

// file returns which of the first descriptors fd is a copy of, ok is false if
// it is surely not open.
func (m *model) file(fd uint64) (kind uint64, ok bool, err error) {
	n := uint64(uint32(fd)) // descriptors are 32 bits wide
	if kind, ok := m.open[n]; ok {
		return kind, true, nil
	}
	if int32(n) < 0 || n > lastFD && n < 1<<20 && (n < 20 || n > 60) {
		return 0, false, nil
	}
	return 0, false, unsure{fmt.Sprintf("descriptor %d", n)}
}

func (m *model) close(fd uint64) (int64, error) {
	_, ok, err := m.file(fd)
	if err != nil || !ok {
		return -int64(unix.EBADF), err
	}
	if uint32(fd) < dupFrom {
		return 0, unsure{"a descriptor that is needed"}
	}
	delete(m.open, uint64(uint32(fd)))
	return 0, nil
}

func (m *model) dup(fd, command, least uint64) (int64, error) {
	kind, ok, err := m.file(fd)
	if err != nil || command != unix.F_DUPFD {
		return 0, unsure{"a fcntl"}
	}
	if !ok {
		return -int64(unix.EBADF), nil
	}
	if least < dupFrom || least > 200 {
		return 0, unsure{"a dup to an unknown place"}
	}
	for {
		if _, used := m.open[least]; !used {
			m.open[least] = kind
			return int64(least), nil
		}
		least++
	}
}

func (m *model) seek(fd uint64, off int64, whence uint64) (int64, error) {
	kind, ok, err := m.file(fd)
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return -int64(unix.EBADF), nil
	case uint32(whence) != uint32(whence)&3 || whence == 3 || off > 1<<40 || off < -1<<40:
		return 0, unsure{"a seek"}
	case kind != dataFD:
		return -int64(unix.ESPIPE), nil
	}
	to := off
	switch whence {
	case 1:
		to += int64(m.pos)
	case 2:
		to += dataSize
	}
	if to < 0 {
		return -int64(unix.EINVAL), nil
	}
	m.pos = uint64(to)
	return to, nil
}

// memory returns the bytes at an address, ok is false if nothing is there.
func (m *model) memory(address, size uint64, write bool) (bytes []byte, ok bool, err error) {
	if address >= Base && address < Base+uint64(len(m.mem)) && size <= Base+uint64(len(m.mem))-address {
		return m.mem[address-Base:][:size], true, nil
	}
	off, mapped := m.maps[address&^(pageSize-1)]
	switch in := address & (pageSize - 1); {
	case address < pageSize:
		return nil, false, nil
	case address < mapAt || address >= mapAt+1<<20 || size > pageSize-in:
		return nil, false, unsure{"memory"}
	case !mapped || write:
		return nil, false, nil
	default:
		return m.data[off+in:][:size], true, nil
	}
}

func (m *model) pread(fd, buffer, size uint64, off int64) (int64, error) {
	kind, ok, err := m.file(fd)
	to, there, merr := m.memory(buffer, size, true)
	switch {
	case err != nil || merr != nil || !there && (!ok || kind != dataFD || off < 0 || off >= dataSize):
		return 0, unsure{"which error is first"}
	case off < 0:
		if !ok || kind != dataFD {
			return 0, unsure{"which error is first"}
		}
		return -int64(unix.EINVAL), nil
	case !ok:
		return -int64(unix.EBADF), nil
	case kind != dataFD:
		return -int64(unix.ESPIPE), nil
	case size > 256:
		return 0, unsure{"a large read"}
	case size == 0 || off >= dataSize:
		return 0, nil
	}
	if !there {
		return -int64(unix.EFAULT), nil
	}
	return int64(copy(to, m.data[off:])), nil
}

func (m *model) read(fd, buffer, size uint64) (int64, error) {
	kind, ok, err := m.file(fd)
	if _, there, _ := m.memory(buffer, size, true); err != nil || !there {
		return 0, unsure{"which error is first"}
	}
	if !ok {
		return -int64(unix.EBADF), nil
	}
	if kind != recordIn && kind != byteIn || size > 256 || size == 0 {
		return 0, unsure{"a read"}
	}
	queue := m.pipes[kind]
	if kind == recordIn && len(queue) > 0 && (size != RecordSize || buffer < Base || (buffer-Base)%RecordSize != 0) {
		return 0, unsure{"a torn record"}
	}
	if kind == byteIn && buffer < Base+arenaAt {
		return 0, unsure{"bytes over records"}
	}
	size = min(size, uint64(len(queue)))
	to, ok, err := m.memory(buffer, size, true)
	switch {
	case err != nil || !ok:
		return 0, unsure{"a read into nothing"} // what the pipe then holds is the kernel's
	case len(queue) == 0:
		return -int64(unix.EAGAIN), nil
	}
	if kind == recordIn {
		m.seen[deed{overwritten: true}]++
	}
	copy(to, queue)
	m.pipes[kind] = queue[size:]
	return int64(size), nil
}

func (m *model) write(fd, buffer, size uint64) (int64, error) {
	kind, ok, err := m.file(fd)
	from, there, merr := m.memory(buffer, size, false)
	if err != nil || merr != nil || !there && !ok {
		return 0, unsure{"which error is first"}
	}
	if !ok {
		return -int64(unix.EBADF), nil
	}
	if kind != recordTo && kind != byteTo || size > 256 || kind == recordTo && size != RecordSize {
		return 0, unsure{"a write"}
	}
	if size == 0 {
		return 0, nil
	}
	if !there {
		return -int64(unix.EFAULT), nil
	}
	queue := m.pipes[kind-1]
	if len(queue) > 2048 {
		return 0, unsure{"a full pipe"}
	}
	m.pipes[kind-1] = append(queue[:len(queue):len(queue)], from...)
	return int64(size), nil
}

func (m *model) mmap(a [6]uint64) (int64, error) {
	kind, ok, err := m.file(a[4])
	at := a[0]
	if err != nil || at < mapAt || at >= mapAt+1<<20 || at%pageSize != 0 || a[1] != pageSize ||
		a[2] != unix.PROT_READ || a[3] != unix.MAP_SHARED|unix.MAP_FIXED || a[5] >= dataSize {
		return 0, unsure{"an mmap"}
	}
	switch {
	case a[5]%pageSize != 0:
		if !ok || kind != dataFD {
			return 0, unsure{"which error is first"}
		}
		return -int64(unix.EINVAL), nil
	case !ok:
		return -int64(unix.EBADF), nil
	case kind != dataFD:
		return 0, unsure{"an mmap of a pipe"}
	}
	m.maps[at] = a[5]
	return int64(at), nil
}
