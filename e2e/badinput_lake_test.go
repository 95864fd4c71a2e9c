package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
)

// forget removes a folder of the lake.
func (b *bad) forget(folder string) {
	b.t.Helper()
	if err := os.RemoveAll(filepath.Join(b.Dir, folder)); err != nil {
		b.t.Fatal(err)
	}
}

// rewrite replaces a text in the configuration.
func (b *bad) rewrite(old, with string) {
	b.t.Helper()
	text, err := os.ReadFile(b.Config)
	if err != nil {
		b.t.Fatal(err)
	}
	if !strings.Contains(string(text), old) {
		b.t.Fatalf("%s has no %q", b.Config, old)
	}
	write(b.t, b.Config, strings.ReplaceAll(string(text), old, with))
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// truncate leaves half of a file.
func truncate(t *testing.T, path string) (restore func()) {
	t.Helper()
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, path, string(whole[:len(whole)/2]))
	return func() { t.Helper(); write(t, path, string(whole)) }
}

// twoTables is a database of which the second table is to go on.
func twoTables(t *testing.T) *pgtest.Database {
	t.Helper()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE TABLE t (id int PRIMARY KEY, v text)`, `INSERT INTO t VALUES (1, 'a')`,
		`CREATE TABLE u (id int PRIMARY KEY)`, `INSERT INTO u VALUES (1)`)
	return db
}

func TestLakeIsAFileLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	b := newBad(t, twoTables(t).URL, allTables, "")
	write(t, b.Dir, "not a folder")
	b.check(found, `error .*lake: it is a file`)
	b.once(final, `lake: it is a file; remove it`)
	if err := os.Remove(b.Dir); err != nil {
		t.Fatal(err)
	}
	b.well()
}

// TestLakeUnwritable runs as a user who may not write the lake, then one table of it. Root may
// always: it becomes another user.
func TestLakeUnwritable(t *testing.T) {
	t.Parallel()
	db := twoTables(t)
	b := newBad(t, db.URL, allTables, "")
	for _, dir := range []string{filepath.Dir(b.Dir), filepath.Dir(filepath.Dir(b.Dir))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(b.Config, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b.Dir, 0o555); err != nil {
		t.Fatal(err)
	}
	uid := os.Geteuid()
	if uid == 0 {
		uid = 65534 // nobody
		b.as = func(cmd *exec.Cmd) {
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
			cmd.Dir = "/"
		}
	}
	allow := func(path string) {
		t.Helper()
		if err := errors.Join(os.Chown(path, uid, -1), os.Chmod(path, 0o755)); err != nil {
			t.Fatal(err)
		}
	}
	b.check(found, `error .*lake.* cannot be written: .*may not`)
	b.once(final, b.Dir, `may not`)
	allow(b.Dir)
	if err := errors.Join(os.Mkdir(filepath.Join(b.Dir, "public"), 0o755), os.Mkdir(filepath.Join(b.Dir, "public", "t"), 0o555)); err != nil {
		t.Fatal(err)
	}
	allow(filepath.Join(b.Dir, "public"))
	b.once(final, `table public\.t: .*/public/t.*may not`, `public\.u +streaming`)
	allow(filepath.Join(b.Dir, "public", "t"))
	b.well()
}

// TestFullDisk has a disk that is full when the first copy comes, and again when the stream does.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	db := twoTables(t)
	b := newBad(t, db.URL, allTables, "")
	if err := os.Mkdir(b.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	asRoot := func(args ...string) (string, error) {
		if os.Geteuid() != 0 {
			args = append([]string{"sudo", "-n"}, args...)
		}
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		return string(out), err
	}
	if out, err := asRoot("mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=2m,uid=%d", os.Geteuid()), "lakefeed-test", b.Dir); err != nil {
		t.Skipf("a small disk cannot be mounted, which a sandbox may refuse to root, too: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := asRoot("umount", b.Dir); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	fill := func() {
		t.Helper()
		f, err := os.Create(filepath.Join(b.Dir, "ballast"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 64 << 10; size > 0; {
			if _, err := f.Write(make([]byte, size)); err != nil {
				size /= 4
			}
		}
	}
	room := func() {
		t.Helper()
		if err := os.Remove(filepath.Join(b.Dir, "ballast")); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	b.check(found, `error .*cannot be written: .*no space left`)
	b.once(retry, `no space left`, b.Dir)
	room()
	b.well()
	db.Exec(t, `INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(2, 100) i`)
	fill()
	b.once(retry, `no space left`)
	b.once(retry, `no space left`)
	room()
	b.well()

	// A process that runs goes on by itself.
	b.rewrite("    lake:", "    commit_interval: 200ms\n    lake:")
	run := startRun(t, b.Lake)
	await(t, "it streams", func() bool { return strings.Count(b.Run(0, "status"), "  streaming  ") == 2 })
	fill()
	db.Exec(t, `INSERT INTO t VALUES (1000, 'b')`)
	await(t, "status says why", func() bool { return strings.Contains(b.Run(0, "status"), "no space left") })
	run.check()
	room()
	awaitAck(t, db, run)
	run.stop()
	b.well()
}

// TestForeignFiles has something else in the folder of a table.
func TestForeignFiles(t *testing.T) {
	t.Parallel()
	b := newBad(t, twoTables(t).URL, allTables, "")
	write(t, filepath.Join(b.Dir, "public/t/orders.csv"), "1,2\n")
	b.check(found, `error .*public/t is not empty and holds no Hudi table \(orders\.csv\): move it away`)
	b.once(final, `table public\.t: .*public/t.*orders\.csv`, `folder of its own`, `public\.u +streaming`)
	b.forget("public/t")
	b.well()
}

// TestTwoPipelinesOnOneTable has two pipelines that land in one folder.
func TestTwoPipelinesOnOneTable(t *testing.T) {
	t.Parallel()
	db := twoTables(t)
	b, other := newBad(t, db.URL, allTables, ""), newBad(t, db.URL, allTables, "")
	b.once(0)
	other.rewrite(other.Dir, b.Dir)
	other.check(found, `error .*public/t belongs to table public\.t of pipeline `+b.Name+`: give`)
	other.once(final, `public/t belongs to table public\.t of pipeline `+b.Name+`: give one of them another path`)
	b.well()
}

// TestDamagedFiles cuts files of the lake in half.
func TestDamagedFiles(t *testing.T) {
	t.Parallel()
	newest := func(t *testing.T, dir, suffix string) string {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, "*"+suffix))
		if err != nil || len(files) == 0 {
			t.Fatalf("no *%s in %s: %v", suffix, dir, err)
		}
		return files[len(files)-1]
	}
	for name, c := range map[string]struct {
		file   func(t *testing.T, b *bad) string
		one    bool // it is one table's problem
		wayOut string
	}{
		"properties": {func(_ *testing.T, b *bad) string { return filepath.Join(b.Dir, "public/t/.hoodie/hoodie.properties") }, true, "copied anew"},
		"commit": {func(t *testing.T, b *bad) string {
			return newest(t, filepath.Join(b.Dir, "public/t/.hoodie"), "commit")
		}, true, "copied anew"},
		"progress": {func(_ *testing.T, b *bad) string { return filepath.Join(b.Dir, "_lakefeed/progress", b.Name) }, false, "put back a copy"},
		"lock":     {func(_ *testing.T, b *bad) string { return filepath.Join(b.Dir, "_lakefeed/lock", b.Name) }, false, "remove the file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			db := twoTables(t)
			b := newBad(t, db.URL, allTables, "")
			b.once(0)
			db.Exec(t, `INSERT INTO t VALUES (2, 'b')`, `INSERT INTO u VALUES (2)`)
			path := c.file(t, b)
			restore := func() { _ = os.Remove(path) }
			if name == "lock" {
				write(t, path, `{"id": "5b`)
			} else {
				restore = truncate(t, path)
			}
			b.check(found, `error .*`+filepath.Base(path), c.wayOut)
			says := []string{filepath.Base(path), c.wayOut}
			if c.one {
				says = append(says, `table public\.t: `, `public\.u +streaming`)
			}
			b.once(final, says...)
			if name != "lock" {
				b.run(0, []string{"status"}, `public\.u`)
			}
			restore()
			b.well()
		})
	}
}
