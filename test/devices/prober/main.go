// Command prober tries, in a container, each device node below /nodes, and to
// make each anew below /made, and prints for each whether the device rules let
// it. EPERM is their no; whether there is such a device does not matter.
package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

func main() {
	nodes, err := os.ReadDir("/nodes")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for _, n := range nodes {
		path := "/nodes/" + n.Name()
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		words := ""
		for _, o := range []struct {
			letter string
			flags  int
		}{{"r", unix.O_RDONLY}, {"w", unix.O_WRONLY}, {"b", unix.O_RDWR}} {
			fd, err := unix.Open(path, o.flags|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if err != unix.EPERM {
				words += o.letter
			}
			if err == nil {
				unix.Close(fd)
			}
		}
		if err := unix.Mknod("/made/"+n.Name(), st.Mode, int(st.Rdev)); err != unix.EPERM {
			words += "m"
		}
		fmt.Printf("%s %s\n", n.Name(), words)
	}
}
