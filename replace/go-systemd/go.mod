module github.com/coreos/go-systemd/v22

go 1.23
