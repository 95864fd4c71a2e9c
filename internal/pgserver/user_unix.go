//go:build unix

package pgserver

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// signals are what the postmaster takes for each mode of Stop.
var signals = map[string]os.Signal{
	"smart":     syscall.SIGTERM,
	"fast":      syscall.SIGINT,
	"immediate": syscall.SIGQUIT,
	"kill":      syscall.SIGKILL,
}

// process is a running postmaster.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed after its end
}

// start runs a server that is not reached by the terminal's Ctrl-C and that ends
// with this process, even when this process is killed. The kernel ties that to
// the thread that started it, so one thread starts it and waits for its end.
func start(cmd *exec.Cmd) (*process, error) {
	cmd.SysProcAttr = serverAttr()
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer close(p.done)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // its end is all that matters
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return p, nil
}

// runAs is the user whom the server runs as where this process is root, which
// PostgreSQL refuses: postgres where there is one, else nobody. It is nil elsewhere.
var runAs = sync.OnceValue(func() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	return &syscall.Credential{Uid: 65534, Gid: 65534}
})

func serverAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Credential: runAs()}
}

// makeDir makes the server's folder, its own and closed to others.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if left, err := os.ReadDir(dir); err != nil {
		return err
	} else if len(left) > 0 {
		return fmt.Errorf("%s is not empty", dir)
	}
	return own(dir)
}

// writeOwned writes a file that only the server's user reads.
func writeOwned(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return own(path)
}

func own(path string) error {
	if c := runAs(); c != nil {
		return os.Chown(path, int(c.Uid), int(c.Gid))
	}
	return nil
}
