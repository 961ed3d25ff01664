// setuid is what the image nonewprivs of critest has: it says whose rights it runs
// with. The file belongs to root and has the set-user-ID bit.
package main

import (
	"fmt"
	"os"
)

func main() { fmt.Printf("Effective uid: %d\n", os.Geteuid()) }
