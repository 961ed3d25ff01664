package main

import (
	"bytes"
	"os"
	"reflect"
	"strings"
	"testing"
)

// TestGeneratedIsCurrent fails until go generate is run after a change of the
// generator or of the specification's types.
func TestGeneratedIsCurrent(t *testing.T) {
	want, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../decode_gen.go")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("decode_gen.go is not what the generator writes: run go generate ./internal/bundle")
	}
}

// TestUnsupported: a type that the decoder has no function for must stop the
// generator, not be left out.
func TestUnsupported(t *testing.T) {
	for _, v := range []any{
		1.5, []byte{}, map[int]string{}, [][]string{}, make(chan int), struct{}{}, [2]int{},
	} {
		g := generator{known: make(map[reflect.Type]bool)}
		typ := reflect.TypeOf(v)
		_, _, err := g.function(typ)
		if err == nil && len(g.queue) > 0 {
			err = g.structure(g.queue[0])
		}
		if err == nil || !strings.Contains(err.Error(), typ.String()) {
			t.Errorf("%s: got %v", typ, err)
		}
	}
}
