#include "textflag.h"

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	MOVD $·handler(SB), R0
	MOVD R0, handler+0(FP)
	MOVD $·restorer(SB), R0
	MOVD R0, restorer+8(FP)
	RET

// handler(signal): write(pipe, &signal, 1). It is called by the kernel, which
// restores all registers afterwards. A full pipe loses the byte.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0-0
	SUB  $16, RSP, RSP
	MOVB R0, 8(RSP)
	MOVW ·pipe(SB), R0
	ADD  $8, RSP, R1
	MOVD $1, R2
	MOVD $64, R8             // write
	SVC
	ADD  $16, RSP, RSP
	RET

// restorer: rt_sigreturn, where the handler returns to.
TEXT ·restorer(SB),NOSPLIT|NOFRAME,$0-0
	MOVD $139, R8
	SVC
	BRK
