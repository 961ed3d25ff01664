#include "textflag.h"

// func bounds() (start, end *byte)
TEXT ·bounds(SB),NOSPLIT,$0-16
	LEAQ ·loop(SB), AX
	MOVQ AX, start+0(FP)
	LEAQ ·loopEnd(SB), AX
	MOVQ AX, end+8(FP)
	RET

// The loop of doc.go. BX is the current record, R12 its flags. The kernel
// preserves all registers but AX, CX and R11 (syscall(2)).
TEXT ·loop(SB),NOSPLIT|NOFRAME,$0-0
	MOVL 0(SP), R8           // argc: the ring's descriptor
	MOVL $9, AX              // mmap
	MOVQ $0x100000000, DI    // Base
	MOVL $0x1000000, SI      // Size
	MOVL $3, DX              // PROT_READ|PROT_WRITE
	MOVL $0x100001, R10      // MAP_SHARED|MAP_FIXED_NOREPLACE
	XORL R9, R9
	SYSCALL
	MOVQ $0x100000000, BX
	CMPQ AX, BX
	JNE  die

next:
	MOVQ 0(BX), AX
	SUBQ $1, AX
	JCS  die                 // not filled
	MOVQ 8(BX), DI
	MOVQ 16(BX), SI
	MOVQ 24(BX), DX
	MOVQ 32(BX), R10
	MOVQ 40(BX), R8
	MOVQ 48(BX), R9
	MOVQ 56(BX), R12
	BTL  $0, R12
	JCC  arg1
	MOVQ (DI), DI

arg1:
	BTL  $1, R12
	JCC  arg2
	MOVQ (SI), SI

arg2:
	BTL  $2, R12
	JCC  arg3
	MOVQ (DX), DX

arg3:
	BTL  $3, R12
	JCC  arg4
	MOVQ (R10), R10

arg4:
	BTL  $4, R12
	JCC  arg5
	MOVQ (R8), R8

arg5:
	BTL  $5, R12
	JCC  call
	MOVQ (R9), R9

call:
	SYSCALL
	MOVQ  AX, 64(BX)
	TESTQ AX, AX
	JS    negative
	JEQ   zero
	BTL   $8, R12            // FlagExitPositive
	JCS   die
	MOVQ  R12, AX
	SHRQ  $16, AX            // SkipShift
	IMULQ $72, AX
	ADDQ  AX, BX

step:
	ADDQ $72, BX
	BTL  $9, R12             // FlagJump
	JCC  next
	MOVQ $0x100000000, BX
	JMP  next

negative:
	BTL $6, R12              // FlagAllow
	JCS step

die:
	MOVL $231, AX            // exit_group
	MOVL $125, DI            // ExitStatus
	SYSCALL
	UNDEF                    // a seccomp filter refused even that

zero:
	BTL $7, R12              // FlagZeroFatal
	JCC step
	JMP die

TEXT ·loopEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET
