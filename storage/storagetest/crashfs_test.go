package storagetest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"lakefeed/storage/storagetest"
)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file of two pieces, the first of them synced.
func write(t *testing.T, c *storagetest.CrashFS, name, synced, more string) {
	t.Helper()
	f, err := c.Create(name)
	check(t, err)
	_, err = f.Write([]byte(synced))
	check(t, err)
	check(t, f.Sync())
	_, err = f.Write([]byte(more))
	check(t, err)
	check(t, f.Close())
}

// state is what is in the root: each file and what it holds.
func state(t *testing.T, c *storagetest.CrashFS) string {
	t.Helper()
	entries, err := c.ReadDir("/")
	check(t, err)
	var all []string
	for _, e := range entries {
		f, err := c.Open("/" + e.Name())
		check(t, err)
		info, err := e.Info()
		check(t, err)
		b := make([]byte, info.Size())
		if _, err = f.ReadAt(b, 0); len(b) > 0 {
			check(t, err)
		}
		all = append(all, fmt.Sprintf("%s=%q", e.Name(), b))
	}
	return strings.Join(all, " ")
}

// survivors are the states in which crashes leave what work did.
func survivors(t *testing.T, work func(t *testing.T, c *storagetest.CrashFS)) []string {
	t.Helper()
	var states []string
	for seed := range uint64(200) {
		c := storagetest.NewCrashFS()
		work(t, c)
		c.Crash(rand.New(rand.NewPCG(seed, 1)))
		states = append(states, state(t, c))
	}
	slices.Sort(states)
	return slices.Compact(states)
}

var crashCases = []struct {
	name string
	work func(t *testing.T, c *storagetest.CrashFS)
	want []string
}{
	{"all synced", func(t *testing.T, c *storagetest.CrashFS) {
		write(t, c, "/f", "ab", "")
		check(t, c.SyncDir("/"))
	}, []string{`f="ab"`}},
	{"data cut or zero", func(t *testing.T, c *storagetest.CrashFS) {
		write(t, c, "/f", "a", "bc")
		check(t, c.SyncDir("/"))
	}, []string{`f="a"`, `f="a\x00\x00"`, `f="ab"`, `f="ab\x00"`, `f="abc"`}},
	{"made", func(t *testing.T, c *storagetest.CrashFS) { write(t, c, "/f", "a", "") }, []string{``, `f="a"`}},
	{"removed", func(t *testing.T, c *storagetest.CrashFS) {
		write(t, c, "/f", "a", "")
		check(t, c.SyncDir("/"))
		check(t, c.Remove("/f"))
	}, []string{``, `f="a"`}},
	{"renamed", func(t *testing.T, c *storagetest.CrashFS) {
		write(t, c, "/f", "old", "")
		write(t, c, "/t", "new", "")
		check(t, c.SyncDir("/"))
		check(t, c.Rename("/t", "/f"))
	}, []string{`f="new"`, `f="old" t="new"`}},
	{"linked", func(t *testing.T, c *storagetest.CrashFS) {
		write(t, c, "/t", "a", "")
		check(t, c.SyncDir("/"))
		check(t, c.Link("/t", "/f"))
		check(t, c.Remove("/t"))
	}, []string{``, `f="a"`, `f="a" t="a"`, `t="a"`}},
	{"renamed and synced", func(t *testing.T, c *storagetest.CrashFS) {
		write(t, c, "/t", "a", "")
		check(t, c.Rename("/t", "/f"))
		check(t, c.SyncDir("/"))
	}, []string{`f="a"`}},
	{"nothing is synced", func(t *testing.T, c *storagetest.CrashFS) {
		c.IgnoreSync, c.IgnoreSyncDir = true, true
		write(t, c, "/f", "a", "")
		check(t, c.SyncDir("/"))
	}, []string{``, `f=""`, `f="\x00"`, `f="a"`}},
}

func TestCrashFS(t *testing.T) {
	for _, test := range crashCases {
		if got := survivors(t, test.work); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCrashFSHandlesDie(t *testing.T) {
	c := storagetest.NewCrashFS()
	write(t, c, "/f", "a", "")
	check(t, c.SyncDir("/"))
	w, err := c.Create("/g")
	check(t, err)
	r, err := c.Open("/f")
	check(t, err)
	_, err = c.Lock("/f")
	check(t, err)
	c.Kill()
	if _, err := w.Write(nil); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("write after Kill: %v", err)
	}
	if _, err := r.ReadAt(make([]byte, 1), 0); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("read after Kill: %v", err)
	}
	if _, err = c.Lock("/f"); err != nil {
		t.Errorf("lock after Kill: %v", err)
	}
	if got := state(t, c); got != `f="a" g=""` {
		t.Errorf("Kill left %s", got)
	}
}

func TestCrashFSPowerOff(t *testing.T) {
	c := storagetest.NewCrashFS()
	c.CrashAfter(2)
	check(t, c.Mkdir("/a"))
	check(t, c.Mkdir("/b"))
	if err := c.Mkdir("/c"); !errors.Is(err, storagetest.ErrPowerOff) || c.Ops() != 2 {
		t.Errorf("after the power failed: %v, %d calls", err, c.Ops())
	}
	if _, err := c.Stat("/a"); !errors.Is(err, storagetest.ErrPowerOff) {
		t.Errorf("read after the power failed: %v", err)
	}
	c.Crash(rand.New(rand.NewPCG(1, 1)))
	check(t, c.Mkdir("/d"))
}
