//go:build programs

// Package programs pins the module whose validation programs the tests run. It is
// a module of its own so that tongs depends on nothing of it.
package programs

import (
	_ "github.com/opencontainers/runtime-tools/cmd/runtimetest"
	_ "github.com/opencontainers/runtime-tools/validation/util"
)
