package stub

import "tongs/internal/kernel/stub/code"

const machine = code.MachineAMD64
