#include "textflag.h"

// func bounds() (start, end *byte)
TEXT ·bounds(SB),NOSPLIT,$0-16
	MOVD $·loop(SB), R0
	MOVD R0, start+0(FP)
	MOVD $·loopEnd(SB), R0
	MOVD R0, end+8(FP)
	RET

// The loop of doc.go. R19 is the current record, R20 its flags. The kernel
// preserves all registers but R0 (syscall(2)).
TEXT ·loop(SB),NOSPLIT|NOFRAME,$0-0
	MOVD 0(RSP), R4          // argc: the ring's descriptor
	MOVD $222, R8            // mmap
	MOVD $0x100000000, R0    // Base
	MOVD $0x1000000, R1      // Size
	MOVD $3, R2              // PROT_READ|PROT_WRITE
	MOVD $0x100001, R3       // MAP_SHARED|MAP_FIXED_NOREPLACE
	MOVD $0, R5
	SVC
	MOVD $0x100000000, R19
	CMP  R0, R19
	BNE  die

next:
	MOVD 0(R19), R8
	CBZ  R8, die             // not filled
	SUB  $1, R8, R8
	MOVD 8(R19), R0
	MOVD 16(R19), R1
	MOVD 24(R19), R2
	MOVD 32(R19), R3
	MOVD 40(R19), R4
	MOVD 48(R19), R5
	MOVD 56(R19), R20
	TBZ  $0, R20, arg1
	MOVD (R0), R0

arg1:
	TBZ  $1, R20, arg2
	MOVD (R1), R1

arg2:
	TBZ  $2, R20, arg3
	MOVD (R2), R2

arg3:
	TBZ  $3, R20, arg4
	MOVD (R3), R3

arg4:
	TBZ  $4, R20, arg5
	MOVD (R4), R4

arg5:
	TBZ  $5, R20, call
	MOVD (R5), R5

call:
	SVC
	MOVD R0, 64(R19)
	TBNZ $63, R0, negative
	CBZ  R0, zero
	TBNZ $8, R20, die        // FlagExitPositive
	LSR  $16, R20, R0        // SkipShift
	MOVD $72, R1
	MUL  R1, R0, R0
	ADD  R0, R19, R19

step:
	ADD  $72, R19, R19
	TBZ  $9, R20, next       // FlagJump
	MOVD $0x100000000, R19
	B    next

negative:
	TBNZ $6, R20, step       // FlagAllow

die:
	MOVD $94, R8             // exit_group
	MOVD $125, R0            // ExitStatus
	SVC
	UNDEF                    // a seccomp filter refused even that

zero:
	TBZ $7, R20, step        // FlagZeroFatal
	B   die

TEXT ·loopEnd(SB),NOSPLIT|NOFRAME,$0-0
	RET
