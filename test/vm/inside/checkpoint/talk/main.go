// Command talk is run in a container that is checkpointed: it counts in its
// memory, and writes the number to the file that it is told of, whenever it has
// gone where the other arguments say:
//
//	talk FILE            through a TCP connection to itself, and back
//	talk FILE to SOCKET  to a Unix socket for datagrams
//	talk FILE at ADDRESS nowhere; it listens there and never accepts
//	talk FILE lock PATH  nowhere; it has a lock on that file
//
// It ends when a connection breaks.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := talk(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func talk(file string, to []string) error {
	send, err := through(to)
	for n := 1; err == nil; n++ {
		var line string
		if line, err = send(n); err == nil {
			err = os.WriteFile(file+".new", []byte(line), 0o644)
		}
		if err == nil {
			err = os.Rename(file+".new", file)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// through gives what sends a number, and says what has come of it.
func through(to []string) (func(n int) (string, error), error) {
	if len(to) == 0 {
		return echo()
	}
	keep := func(open any, err error) (func(n int) (string, error), error) {
		return func(n int) (string, error) {
			runtime.KeepAlive(open)
			return fmt.Sprint(n), nil
		}, err
	}
	switch to[0] {
	case "at":
		return keep(listen(to[1]))
	case "lock":
		return keep(lock(to[1]))
	}
	c, err := net.Dial("unixgram", to[1])
	return func(n int) (string, error) {
		_, err := fmt.Fprint(c, n)
		return fmt.Sprint(n), err
	}, err
}

func lock(file string) (*os.File, error) {
	f, err := os.Create(file)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
	}
	return f, err
}

func listen(address string) (net.Listener, error) {
	var l net.ListenConfig
	l.SetMultipathTCP(false) // which CRIU does not know
	return l.Listen(context.Background(), "tcp", address)
}

func echo() (func(n int) (string, error), error) {
	l, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	echoed := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
		}
		echoed <- fmt.Errorf("the echo has ended: %w", err)
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		return nil, err
	}
	lines := bufio.NewReader(c)
	return func(n int) (string, error) {
		if _, err := fmt.Fprintln(c, n); err != nil {
			return "", err
		}
		line, err := lines.ReadString('\n')
		select {
		case err = <-echoed:
		default:
		}
		return strings.TrimSpace(line), err
	}, nil
}
