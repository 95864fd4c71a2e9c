// Package scratch makes files that hold what memory does not, and that nothing is left of
// when their process ends, however it does.
package scratch

import "os"

// Create makes a file in dir (empty: the system's folder for such files) whose name
// begins with name. It has lost that name already where the system allows it, and lives
// while it is open; where not, it stays behind.
func Create(dir, name string) (*os.File, error) {
	f, err := os.CreateTemp(dir, name+"-*")
	if err != nil {
		return nil, err
	}
	_ = os.Remove(f.Name())
	return f, nil
}
