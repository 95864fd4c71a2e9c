package pgserver

import "syscall"

// dieWithParent asks for an immediate shutdown when the starting thread ends.
func dieWithParent(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGQUIT }
