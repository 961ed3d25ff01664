package code

import "unsafe"

// Bytes returns the loop's machine code. The bytes are this program's own
// text, mapped for its whole life and never written.
func Bytes() []byte {
	start, end := bounds()
	return unsafe.Slice(start, uintptr(unsafe.Pointer(end))-uintptr(unsafe.Pointer(start)))
}
