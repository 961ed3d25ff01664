package cli

// stackFrame makes a stack of 32 KiB. With half of it commands are slower, with
// twice as much they are not faster.
const stackFrame = 15 << 10

// growStack gives the calling goroutine at once the stack that a command
// needs. By itself it begins with few KiB and doubles when it is full, which
// deep in a command costs some 30 µs: the runtime adjusts each frame on it, for
// which it reads tables all over the program's file. Here there are three.
//
// Never must be false, and the compiler must not know: what counts is the size
// of the frame, whose pages are not touched.
//
//go:noinline
func growStack(never bool) {
	if never {
		var frame [stackFrame]byte
		touch(&frame)
	}
}

//go:noinline
func touch(frame *[stackFrame]byte) { frame[0]++ }
