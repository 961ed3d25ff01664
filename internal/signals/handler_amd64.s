#include "textflag.h"

// func addresses() (handler, restorer uintptr)
TEXT ·addresses(SB),NOSPLIT,$0-16
	LEAQ ·handler(SB), AX
	MOVQ AX, handler+0(FP)
	LEAQ ·restorer(SB), AX
	MOVQ AX, restorer+8(FP)
	RET

// handler(signal): write(pipe, &signal, 1). It is called by the kernel, which
// restores all registers afterwards. A full pipe loses the byte.
TEXT ·handler(SB),NOSPLIT|NOFRAME,$0-0
	SUBQ $24, SP
	MOVB DI, 8(SP)
	MOVL ·pipe(SB), DI
	LEAQ 8(SP), SI
	MOVL $1, DX
	MOVL $1, AX              // write
	SYSCALL
	ADDQ $24, SP
	RET

// restorer: rt_sigreturn, where the handler returns to.
TEXT ·restorer(SB),NOSPLIT|NOFRAME,$0-0
	MOVL $15, AX
	SYSCALL
	INT $3
