package criu

import "testing"

// The real program, of which only the answers that need no kernel are asked for.
func TestRealVersion(t *testing.T) {
	program, err := Find()
	if err != nil {
		t.Fatal(err)
	}
	p, err := Start(program)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	for range 2 { // the connection stays
		if err := p.RequireVersion(); err != nil {
			t.Errorf("%v", p.Explain(err))
		}
	}
	if err := p.RequireFeature(MemoryTracking); err != nil {
		t.Error(err)
	}
	r, err := p.ask(&request{kind: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.version)
	if err := p.End(); err != nil {
		t.Log(err)
	}
}
