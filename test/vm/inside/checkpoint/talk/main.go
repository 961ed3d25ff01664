// Command talk is run in a container that is checkpointed: it counts in its
// memory, sends each number through a TCP connection to itself, and writes what
// comes back to the file that it is told of. It ends when the connection breaks.
package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"
)

func main() {
	if err := talk(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func talk(file string) error {
	var listen net.ListenConfig
	listen.SetMultipathTCP(false) // which CRIU does not know
	l, err := listen.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return err
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
		return err
	}
	lines := bufio.NewReader(c)
	for n := 1; ; n++ {
		if _, err := fmt.Fprintln(c, n); err != nil {
			return err
		}
		line, err := lines.ReadString('\n')
		if err != nil {
			return err
		}
		if err := os.WriteFile(file+".new", []byte(strings.TrimSpace(line)), 0o644); err != nil {
			return err
		}
		if err := os.Rename(file+".new", file); err != nil {
			return err
		}
		select {
		case err := <-echoed:
			return err
		case <-time.After(20 * time.Millisecond):
		}
	}
}
