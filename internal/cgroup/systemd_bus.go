package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tongs/internal/dbus"
)

const (
	// connectTime and replyTime bound systemd's answers: it does one thing at a
	// time, and a reload of a large host takes seconds. jobTime bounds a unit's
	// start and stop, as in runc.
	connectTime = 15 * time.Second
	replyTime   = 25 * time.Second
	jobTime     = 30 * time.Second
)

// bus is a connection to a service manager: to its own socket if there is one,
// which needs no broker, or else to it by the message bus. One call is under way
// at a time.
type bus struct {
	conn    *socket
	in      *bufio.Reader
	who     string // for errors
	serial  uint32
	removed []*dbus.Message // signals of jobs that have ended, not yet asked for
}

const (
	systemSocket = "/run/systemd/private"
	systemBus    = "/run/dbus/system_bus_socket"
	systemdName  = "org.freedesktop.systemd1"
	manager      = systemdName + ".Manager"
)

// isUserManager tells that not the host's service manager is responsible but
// that of the user: to us the host's socket belongs to somebody else.
func isUserManager() bool {
	if os.Geteuid() != 0 {
		return true
	}
	var st unix.Stat_t
	return inUserNamespace() && (unix.Stat(systemSocket, &st) != nil || st.Uid != 0)
}

// sockets lists where the service manager may be reached; only the last is a
// message bus.
func sockets(user bool) []string {
	address := func(variable, usual string) string {
		// Of an address only its path matters: "unix:path=/run/…,guid=…".
		path, ok := strings.CutPrefix(os.Getenv(variable), "unix:path=")
		path, _, _ = strings.Cut(path, ",")
		if !ok {
			return usual
		}
		return path
	}
	if !user {
		return []string{systemSocket, address("DBUS_SYSTEM_BUS_ADDRESS", systemBus)}
	}
	dir := os.Getenv("XDG_RUNTIME_DIR")
	if dir == "" {
		dir = fmt.Sprintf("/run/user/%d", os.Geteuid())
	}
	return []string{dir + "/systemd/private", address("DBUS_SESSION_BUS_ADDRESS", dir+"/bus")}
}

// connect reaches the service manager. A socket that is not there is passed over;
// one that does not answer is an error.
func connect(user bool) (*bus, error) {
	list := sockets(user)
	for i, path := range list {
		c, err := dial(path, time.Now().Add(connectTime))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ECONNREFUSED) {
			continue
		}
		b := &bus{conn: c, in: bufio.NewReader(c), who: "systemd at " + path}
		if i > 0 {
			b.who = "the message bus at " + path
		}
		if err != nil {
			return nil, b.explain(err, connectTime)
		}
		if err := b.greet(i > 0); err != nil {
			c.close()
			return nil, err
		}
		return b, nil
	}
	hint := ""
	if user {
		hint = " (rootless containers need a session of the user, and dbus-user-session)"
	}
	return nil, fmt.Errorf("cannot reach systemd: nobody listens at %s%s", strings.Join(list, " or "), hint)
}

// greet authenticates by the credentials that the socket has, as the D-Bus
// specification, "Authentication Protocol", says. All is sent at once: if BEGIN
// came alone, systemd could read it together with the first call, and would not
// look at that until more comes.
func (b *bus) greet(broker bool) error {
	const hello = "\x00AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"
	b.conn.deadline = time.Now().Add(connectTime)
	_, err := b.conn.Write([]byte(hello))
	for _, want := range []string{"DATA", "OK "} {
		var line string
		if err == nil {
			line, err = b.in.ReadString('\n')
		}
		if err != nil {
			return b.explain(err, connectTime)
		}
		if !strings.HasPrefix(line, want) {
			return fmt.Errorf("%s does not let us in: %q", b.who, strings.TrimSpace(line))
		}
	}
	if !broker {
		return nil
	}
	const bus = "org.freedesktop.DBus"
	if _, err := b.send(bus, "/org/freedesktop/DBus", bus, "Hello"); err != nil {
		return err
	}
	_, err = b.send(bus, "/org/freedesktop/DBus", bus, "AddMatch", "type='signal',interface='"+manager+"',member='JobRemoved'")
	return err
}

func (b *bus) close() { b.conn.close() }

// explain says who is to blame when nothing comes.
func (b *bus) explain(err error, limit time.Duration) error {
	switch {
	case errors.Is(err, errTime):
		return fmt.Errorf("%s did not answer for %v", b.who, limit)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%s has closed the connection", b.who)
	}
	return fmt.Errorf("cannot talk to %s: %w", b.who, err)
}

// call calls a method of the manager and returns what it answers.
func (b *bus) call(method string, args ...any) ([]any, error) {
	return b.send(systemdName, "/org/freedesktop/systemd1", manager, method, args...)
}

func (b *bus) send(to string, object dbus.ObjectPath, face, method string, args ...any) ([]any, error) {
	b.serial++
	m := dbus.Message{Type: dbus.TypeMethodCall, Serial: b.serial, Destination: to, Path: object, Interface: face, Member: method, Body: args}
	out, err := m.Encode()
	if err != nil {
		return nil, fmt.Errorf("cannot ask %s: %w", b.who, err)
	}
	b.conn.deadline = time.Now().Add(replyTime)
	if _, err := b.conn.Write(out); err != nil {
		return nil, b.explain(err, replyTime)
	}
	for {
		m, err := b.next()
		switch {
		case err != nil:
			return nil, b.explain(err, replyTime)
		case m.ReplySerial != b.serial:
		case m.Type == dbus.TypeError:
			return nil, dbus.Error{Name: m.ErrorName, Body: m.Body}
		default:
			return m.Body, nil
		}
	}
}

// job calls a method that begins a job, and returns that.
func (b *bus) job(method string, args ...any) (dbus.ObjectPath, error) {
	answer, err := b.call(method, args...)
	if err != nil {
		return "", err
	}
	if job, ok := only[dbus.ObjectPath](answer); ok {
		return job, nil
	}
	return "", fmt.Errorf("%s answers %s with %v, which is not a job", b.who, method, answer)
}

// only is the one value that an answer has, if it is of type T.
func only[T any](answer []any) (v T, ok bool) {
	if len(answer) == 1 {
		v, ok = answer[0].(T)
	}
	return v, ok
}

// next reads a message, and keeps it if it says that a job has ended.
func (b *bus) next() (*dbus.Message, error) {
	m, err := dbus.Read(b.in)
	if err == nil && m.Type == dbus.TypeSignal && m.Member == "JobRemoved" && len(m.Body) == 4 {
		b.removed = append(b.removed, m)
	}
	return m, err
}

// managerProperty reads a text property of the manager.
func (b *bus) managerProperty(name string) (string, error) {
	answer, err := b.send(systemdName, "/org/freedesktop/systemd1", "org.freedesktop.DBus.Properties", "Get", manager, name)
	if err != nil {
		return "", err
	}
	v, _ := only[dbus.Variant](answer)
	if s, ok := v.Value().(string); ok {
		return s, nil
	}
	return "", fmt.Errorf("%s says that its %s is %v", b.who, name, answer)
}

// start starts a transient unit. One that is there and has failed is forgotten
// first.
func (b *bus) start(name string, properties []property) error {
	type auxiliary struct {
		Name       string
		Properties []property
	}
	start := func() (dbus.ObjectPath, error) {
		return b.job("StartTransientUnit", name, "replace", properties, []auxiliary{})
	}
	job, err := start()
	if isBusError(err, "UnitExists") {
		if _, errReset := b.call("ResetFailedUnit", name); errReset == nil {
			job, err = start()
		}
	}
	if err != nil {
		return err
	}
	if err = b.wait(job, "done"); errors.Is(err, errJob) {
		b.call("ResetFailedUnit", name)
	}
	return err
}

// stop stops a unit and forgets it.
func (b *bus) stop(name string) error {
	job, err := b.job("StopUnit", name, "replace")
	if isBusError(err, "NoSuchUnit") {
		return nil
	}
	if err != nil {
		return err
	}
	// The result does not matter: whether its cgroup is empty does, which is seen
	// there. Only if it has failed is there anything to forget.
	if err = b.wait(job, ""); err == nil {
		b.call("ResetFailedUnit", name)
	}
	return err
}

// errJob is a job that ended otherwise than it should.
var errJob = errors.New("the job failed")

// wait waits for the end of a job, and for a result if one is given.
func (b *bus) wait(job dbus.ObjectPath, result string) error {
	b.conn.deadline = time.Now().Add(jobTime)
	for {
		for _, m := range b.removed { // JobRemoved(id, job, unit, result)
			if m.Body[1] != job {
				continue
			}
			if result != "" && m.Body[3] != result {
				return fmt.Errorf("%s says %q: %w", b.who, m.Body[3], errJob)
			}
			return nil
		}
		b.removed = nil
		if _, err := b.next(); errors.Is(err, errTime) {
			return fmt.Errorf("%s did not finish the job within %v", b.who, jobTime)
		} else if err != nil {
			return b.explain(err, jobTime)
		}
	}
}

// isBusError tells an error of systemd's by the end of its name.
func isBusError(err error, name string) bool {
	var e dbus.Error
	return errors.As(err, &e) && e.Name == systemdName+"."+name
}
