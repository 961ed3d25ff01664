package stub

import (
	"testing"

	"tongs/internal/kernel"
)

func BenchmarkRoundTrip(b *testing.B) { benchmarkBatch(b, 1) }

func BenchmarkBatchOf100(b *testing.B) { benchmarkBatch(b, 100) }

func benchmarkBatch(b *testing.B, calls int) {
	s := launch(b, Config{})
	for b.Loop() {
		run(b, s, func(batch *kernel.Batch) {
			for range calls {
				batch.Umask(0)
			}
		})
	}
}

func BenchmarkStart(b *testing.B) { benchmarkStart(b, 0) }

func BenchmarkStartInNamespaces(b *testing.B) { benchmarkStart(b, namespaces) }

// benchmarkStart starts a stub, runs one call in it, and kills it.
func benchmarkStart(b *testing.B, flags uintptr) {
	for b.Loop() {
		s, err := Start(Config{Namespaces: flags, CgroupFD: -1, Stdio: [3]int{0, 1, 2}})
		if err != nil {
			b.Fatal(err)
		}
		run(b, s, func(batch *kernel.Batch) { batch.Umask(0) })
		s.Kill()
		s.Close()
	}
}
