//go:build programs

// Package cri pins what Debian 12 does not have: the client of the Container
// Runtime Interface, its judge critest, and a containerd that knows user namespaces of
// pods. It is a module of its own so that tongs depends on nothing of it.
package cri

import (
	_ "github.com/containerd/containerd/v2/cmd/containerd"
	_ "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2"
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
	_ "sigs.k8s.io/cri-tools/pkg/benchmark" // with the next line, what cmd/critest is made of
	_ "sigs.k8s.io/cri-tools/pkg/validate"
)
