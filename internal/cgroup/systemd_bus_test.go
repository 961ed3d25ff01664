package cgroup

import (
	"bufio"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/dbus"
)

// answer makes a reply, an error or a signal of a manager.
func answer(t *testing.T, m dbus.Message) []byte {
	t.Helper()
	m.Serial = 77
	out, err := m.Encode()
	if err != nil {
		t.Error(err)
	}
	return out
}

func removed(t *testing.T, job dbus.ObjectPath, result string) []byte {
	return answer(t, dbus.Message{Type: dbus.TypeSignal, Path: "/org/freedesktop/systemd1", Interface: manager, Member: "JobRemoved",
		Body: []any{uint32(1), job, "x.scope", result}})
}

func reply(t *testing.T, to *dbus.Message, body ...any) []byte {
	return answer(t, dbus.Message{Type: dbus.TypeMethodReply, ReplySerial: to.Serial, Body: body})
}

// refusal is an error reply.
func refusal(t *testing.T, to *dbus.Message, name string) []byte {
	return answer(t, dbus.Message{Type: dbus.TypeError, ReplySerial: to.Serial, ErrorName: systemdName + "." + name, Body: []any{"no"}})
}

// fakeManager is the other end of a bus, which lets everybody in and gives each
// call to f, until f returns nothing.
func fakeManager(t *testing.T, welcome string, f func(m *dbus.Message) []byte) *bus {
	t.Helper()
	path := t.TempDir() + "/s"
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		in := bufio.NewReader(c)
		for line := ""; line != "BEGIN\r\n" && err == nil; {
			line, err = in.ReadString('\n')
		}
		c.Write([]byte(welcome))
		for err == nil {
			var m *dbus.Message
			if m, err = dbus.Read(in); err == nil {
				out := f(m)
				if out == nil {
					return
				}
				_, err = c.Write(out)
			}
		}
	}()
	c, err := dial(path, time.Now().Add(10*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.close(); l.Close(); <-done })
	return &bus{conn: c, in: bufio.NewReader(c), who: "the test"}
}

const welcome = "DATA\r\nOK 0123456789abcdef\r\n"

func TestBusStart(t *testing.T) {
	const job, other = dbus.ObjectPath("/job/1"), dbus.ObjectPath("/job/2")
	for _, c := range []struct {
		name    string
		answers []func(m *dbus.Message) []byte // to the calls in their order
		calls   string
		want    string // in the error
	}{
		{"the job ends before its number is known", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte {
				return append(append(removed(t, other, "failed"), removed(t, job, "done")...), reply(t, m, job)...)
			}}, "StartTransientUnit", ""},
		{"the job ends later", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte {
				return append(append(reply(t, m, job), removed(t, other, "failed")...), removed(t, job, "done")...)
			}}, "StartTransientUnit", ""},
		{"the job fails", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte { return append(reply(t, m, job), removed(t, job, "failed")...) },
			func(m *dbus.Message) []byte { return reply(t, m) },
		}, "StartTransientUnit ResetFailedUnit", `the test says "failed"`},
		{"a failed one is there", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte { return refusal(t, m, "UnitExists") },
			func(m *dbus.Message) []byte { return reply(t, m) },
			func(m *dbus.Message) []byte { return append(reply(t, m, job), removed(t, job, "done")...) },
		}, "StartTransientUnit ResetFailedUnit StartTransientUnit", ""},
		{"one is there", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte { return refusal(t, m, "UnitExists") },
			func(m *dbus.Message) []byte { return refusal(t, m, "NoSuchUnit") },
		}, "StartTransientUnit ResetFailedUnit", "no"},
		{"the manager ends", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte { return nil },
		}, "StartTransientUnit", "the test has closed the connection"},
		{"nonsense", []func(m *dbus.Message) []byte{
			func(m *dbus.Message) []byte { return []byte("nonsense, and more of it than a header") },
		}, "StartTransientUnit", "cannot talk to the test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			calls := []string{}
			b := fakeManager(t, welcome, func(m *dbus.Message) []byte {
				calls = append(calls, m.Member)
				if len(calls) > len(c.answers) {
					return nil
				}
				return c.answers[len(calls)-1](m)
			})
			if err := b.greet(false); err != nil {
				t.Fatal(err)
			}
			err := b.start("x.scope", []property{prop("TasksMax", uint64(1))})
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if got := strings.Join(calls, " "); got != c.calls {
				t.Errorf("calls %q, want %q", got, c.calls)
			}
		})
	}
}

func TestBusGreeting(t *testing.T) {
	for _, text := range []string{"REJECTED EXTERNAL\r\n", "DATA\r\nREJECTED\r\n"} {
		b := fakeManager(t, text, nil)
		if err := b.greet(false); err == nil || !strings.Contains(err.Error(), "does not let us in") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSocketDeadline(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[1])
	s := &socket{pair[0], time.Now().Add(20 * time.Millisecond)}
	defer s.close()
	if _, err := s.Read(make([]byte, 1)); !errors.Is(err, errTime) {
		t.Errorf("reading from one who is silent: %v", err)
	}
	s.deadline = time.Now().Add(20 * time.Millisecond)
	if _, err := s.Write(make([]byte, 4<<20)); !errors.Is(err, errTime) {
		t.Errorf("writing to one who does not read: %v", err)
	}

	// One who accepts nobody, and whose queue is full.
	path := t.TempDir() + "/s"
	full, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(full)
	if err := errors.Join(unix.Bind(full, &unix.SockaddrUnix{Name: path}), unix.Listen(full, 0)); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s, err := dial(path, time.Now().Add(20*time.Millisecond))
		if err == nil {
			defer s.close()
			continue
		}
		if !errors.Is(err, errTime) {
			t.Errorf("connecting to one who is too busy: %v", err)
		}
		return
	}
	t.Error("three connections fit into a queue of none")
}

func TestQuotaProperties(t *testing.T) {
	for _, c := range []struct {
		quota  int64
		period uint64
		want   int64 // quota afterwards
		perSec uint64
	}{
		{0, 0, 0, 0}, {-1, 0, -1, infinity}, {0, 50_000, 0, infinity}, {50_000, 0, 50_000, 500_000}, {50_123, 200_000, 52_000, 260_000}, {1, 0, 1_000, 10_000},
		{300_000, 100_000, 300_000, 3_000_000},
	} {
		q := c.quota
		var perSec uint64
		for _, p := range quotaProperties(&q, c.period) {
			if p.Name == "CPUQuotaPerSecUSec" {
				perSec = p.Value.Value().(uint64)
			}
		}
		if q != c.want || perSec != c.perSec {
			t.Errorf("%d of %d: quota %d, want %d; per second %d, want %d", c.quota, c.period, q, c.want, perSec, c.perSec)
		}
	}
}

func TestSettableProperties(t *testing.T) {
	for name, kind := range settable() {
		if !dbus.ValidSignature(kind) {
			t.Errorf("%s: %q is not a type", name, kind)
		}
	}
	for _, c := range []struct{ name, text, want string }{
		{"TasksMax", "5", "TasksMax=@t 5"}, {"TasksMax", "uint64 5", "TasksMax=@t 5"}, {"TimeoutStopSec", "1.5", "TimeoutStopUSec=@t 1500000"},
		{"TimeoutStopSec", "uint64 2", "TimeoutStopUSec=@t 2000000"}, {"TimeoutStopUSec", "2", "TimeoutStopUSec=@t 2"},
		{"After", "['a', 'b']", `After=["a", "b"]`}, {"AllowedCPUs", "[byte 3]", "AllowedCPUs=@ay [0x3]"}, {"SendSIGHUP", "true", "SendSIGHUP=true"},
		{"TasksMax", "int32 5", ""}, {"TimeoutStopSec", "1e300", ""}, {"Sec", "1", ""}, {"USec", "1", ""}, {"Delegate", "true", ""},
	} {
		p, err := parseProperty(c.name, c.text)
		if c.want == "" {
			if err == nil {
				t.Errorf("%s=%s is accepted: %v", c.name, c.text, p)
			}
			continue
		}
		if got := p.Name + "=" + p.Value.String(); err != nil || got != c.want {
			t.Errorf("%s=%s: %s, %v, want %s", c.name, c.text, got, err, c.want)
		}
	}
}
