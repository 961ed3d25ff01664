package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// devices tries what a device cgroup judges, for each device that is given as
// "c:major:minor" or "b:major:minor" and has a node in /nodes, and prints a line
// with what it was denied.
func devices(names []string) {
	for _, name := range names {
		f := strings.Split(name, ":")
		major, errMajor := strconv.Atoi(f[1])
		minor, errMinor := strconv.Atoi(f[2])
		if errMajor != nil || errMinor != nil {
			fmt.Fprintln(os.Stderr, "inside: cannot read", name)
			os.Exit(1)
		}
		var denied []string
		try := func(what string, err error) {
			if err == unix.EPERM || err == unix.EACCES {
				denied = append(denied, what)
			}
		}
		kind := uint32(unix.S_IFCHR)
		if f[0] == "b" {
			kind = unix.S_IFBLK
		}
		made := "/dev/made"
		err := unix.Mknod(made, kind|0o600, int(unix.Mkdev(uint32(major), uint32(minor))))
		try("mknod", err)
		if err == nil {
			unix.Unlink(made)
		}
		for _, o := range []struct {
			what string
			flag int
		}{{"read", unix.O_RDONLY}, {"write", unix.O_WRONLY}, {"both", unix.O_RDWR}} {
			fd, err := unix.Open("/nodes/"+name, o.flag|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
			if err == unix.ENOENT {
				fmt.Fprintln(os.Stderr, "inside: no node for", name)
				os.Exit(1)
			}
			try(o.what, err)
			if err == nil {
				unix.Close(fd)
			}
		}
		fmt.Println(name, "denied", denied)
	}
}
