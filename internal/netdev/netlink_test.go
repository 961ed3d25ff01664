package netdev

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// whole is a message with its header.
func whole(kind uint16, seq uint32, body []byte) []byte {
	b := make([]byte, unix.NLMSG_HDRLEN, 64)
	binary.NativeEndian.PutUint32(b, uint32(unix.NLMSG_HDRLEN+len(body)))
	binary.NativeEndian.PutUint16(b[4:], kind)
	binary.NativeEndian.PutUint32(b[8:], seq)
	b = append(b, body...)
	return append(b, make([]byte, align(len(body))-len(body))...)
}

func TestParse(t *testing.T) {
	link := whole(unix.RTM_NEWLINK, 7, make([]byte, unix.SizeofIfInfomsg))
	errno := func(n unix.Errno) []byte { return whole(unix.NLMSG_ERROR, 7, number(uint32(-int32(n)))) }
	for name, c := range map[string]struct {
		in   []byte
		n    int
		done bool
		err  error
	}{
		"two messages":        {slices.Concat(link, link), 2, false, nil},
		"end":                 {slices.Concat(link, whole(unix.NLMSG_DONE, 7, number(0))), 1, true, nil},
		"acknowledged":        {errno(0), 0, true, nil},
		"error":               {errno(unix.EPERM), 0, true, unix.EPERM},
		"of another question": {slices.Concat(whole(unix.NLMSG_ERROR, 6, number(1)), link), 1, false, nil},
		"nothing":             {nil, 0, false, nil},
	} {
		var list []message
		done, err := (&conn{seq: 7}).parse(c.in, &list)
		if len(list) != c.n || done != c.done || err != c.err {
			t.Errorf("%s: %d messages, %v, %v; want %d, %v, %v", name, len(list), done, err, c.n, c.done, c.err)
		}
	}
	var list []message
	if _, err := (&conn{seq: 7}).parse(link[:len(link)-1], &list); err == nil {
		t.Error("a message that is cut off is no error")
	}
}

// Whatever bytes come, nothing is read beyond them.
func TestHostileBytes(t *testing.T) {
	for range 20000 {
		b := make([]byte, rand.IntN(80))
		for i := range b {
			b[i] = byte(rand.IntN(256)) & byte(rand.IntN(256)) & 0x1f
		}
		var list []message
		_, _ = (&conn{}).parse(b, &list) // it may be wrong
		for _, m := range list {
			keptAddress(m.body, 1)
		}
		attrs(b)
		keptAddress(b, 0)
	}
}

func TestKeptAddress(t *testing.T) {
	address := func(scope byte, flags uint32) []byte {
		b := make([]byte, unix.SizeofIfAddrmsg)
		b[0], b[1], b[3], b[4] = unix.AF_INET, 24, scope, 5
		b = attr(b, unix.IFA_LOCAL, []byte{10, 0, 0, 1})
		b = attr(b, unix.IFA_LABEL, text("eth0:x"))
		return attr(b, unix.IFA_FLAGS, number(flags))
	}
	for name, c := range map[string]struct {
		in    []byte
		index int32
		kept  bool
	}{
		"permanent":      {address(unix.RT_SCOPE_UNIVERSE, unix.IFA_F_PERMANENT), 5, true},
		"learned":        {address(unix.RT_SCOPE_UNIVERSE, 0), 5, false},
		"of the link":    {address(unix.RT_SCOPE_LINK, unix.IFA_F_PERMANENT), 5, false},
		"another device": {address(unix.RT_SCOPE_UNIVERSE, unix.IFA_F_PERMANENT), 6, false},
	} {
		got := keptAddress(c.in, c.index)
		if (got != nil) != c.kept {
			t.Errorf("%s: kept %v, want %v", name, got != nil, c.kept)
		}
		if got != nil {
			a := attrs(got[unix.SizeofIfAddrmsg:])
			if a[unix.IFA_LABEL] != nil || !slices.Equal(a[unix.IFA_LOCAL], []byte{10, 0, 0, 1}) {
				t.Errorf("%s: the attributes are %v", name, a)
			}
		}
	}
}
