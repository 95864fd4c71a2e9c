package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"syscall"
	"time"

	"github.com/google/uuid"

	"lakefeed/storage"
)

// Temporary files are not listed, by Spark and hudi-rs neither (seen with Hudi 0.15.0,
// 1.2.0 and hudi-rs 0.5.0), and their names never come again. Those of a
// process that died are removed by the first write of another in that folder,
// once nobody has written to them for tempStale.
const (
	tempPrefix = ".lakefeed-tmp-"
	tempStale  = 24 * time.Hour
)

// Create implements [storage.Store].
func (s *Store) Create(_ context.Context, name string) (storage.Writer, error) {
	w, err := s.create(name)
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (s *Store) create(name string) (*writer, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	dir := filepath.Dir(s.path(name))
	temp := filepath.Join(dir, tempPrefix+uuid.NewString())
	f, err := s.createIn(dir, temp)
	if err != nil {
		return nil, explain("create", name, err)
	}
	return &writer{s: s, f: f, name: name, temp: temp}, nil
}

// createIn makes a file, and its folder before.
func (s *Store) createIn(dir, name string) (File, error) {
	f, err := s.tryIn(dir, name)
	if errors.Is(err, fs.ErrNotExist) { // another process removed the folder
		s.made.Clear()
		f, err = s.tryIn(dir, name)
	}
	return f, err
}

func (s *Store) tryIn(dir, name string) (File, error) {
	s.wrote.Store(true)
	s.removing.RLock()
	defer s.removing.RUnlock()
	if _, known := s.made.Load(dir); !known {
		made, err := s.makeDir(dir)
		if err != nil {
			return nil, err
		}
		if !made {
			s.sweep(dir)
		}
	}
	return s.fs.Create(name)
}

// sweep removes the temporary files of processes that died. That it fails is no
// reason not to write.
func (s *Store) sweep(dir string) {
	entries, err := s.fs.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if old, _ := path.Match(tempPrefix+"*", e.Name()); !old || e.IsDir() {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > tempStale {
			_ = s.fs.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// writer writes a file under its temporary name.
type writer struct {
	s    *Store
	f    File
	name string // in the store
	temp string // full path
	err  error  // of the first Write that failed
	done bool
}

func (w *writer) Write(b []byte) (int, error) {
	n, err := w.f.Write(b)
	if err = explain("write", w.name, err); err != nil && w.err == nil {
		w.err = err
	}
	return n, err
}

// Commit implements [storage.Writer].
func (w *writer) Commit() error { return w.finish(w.s.fs.Rename) }

// finish syncs the file, gives it its name and syncs the folder.
func (w *writer) finish(rename func(from, to string) error) error {
	if w.done {
		return fmt.Errorf("commit %s: it was committed or aborted before", w.name)
	}
	if w.err != nil {
		return errors.Join(w.err, w.Abort())
	}
	if err := w.f.Sync(); err != nil {
		return errors.Join(explain("sync", w.name, err), w.Abort())
	}
	if err := w.f.Close(); err != nil {
		return errors.Join(explain("close", w.name, err), w.Abort())
	}
	if err := w.s.dropChecksum(w.name); err != nil {
		return errors.Join(err, w.Abort())
	}
	if err := rename(w.temp, w.s.path(w.name)); err != nil {
		return errors.Join(explain("create", w.name, err), w.Abort())
	}
	w.done = true
	return explain("sync folder of", w.name, w.s.syncDir(filepath.Dir(w.temp)))
}

// Abort implements [storage.Writer].
func (w *writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	_ = w.f.Close() // it may be closed already
	if err := w.s.fs.Remove(w.temp); err != nil && !absent(err) {
		return explain("remove temporary file of", w.name, err)
	}
	return nil
}

// dropChecksum removes the side file that Hadoop keeps of a file: a stale one
// makes Hadoop refuse the file.
func (s *Store) dropChecksum(name string) error {
	side := path.Join(path.Dir(name), "."+path.Base(name)+".crc")
	err := s.fs.Remove(s.path(side))
	if absent(err) {
		return nil
	}
	if err == nil { // else a crash could keep it beside what we write next
		err = s.syncDir(filepath.Dir(s.path(side)))
	}
	return explain("remove", side, err)
}

func (s *Store) write(name string, data []byte) (*writer, error) {
	w, err := s.create(name)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(data); err != nil {
		return nil, errors.Join(err, w.Abort())
	}
	return w, nil
}

// Put implements [storage.Store].
func (s *Store) Put(_ context.Context, name string, data []byte) error {
	if len(data) == 0 {
		if err := s.createEmpty(name); !errors.Is(err, storage.ErrExist) {
			return err
		}
	}
	w, err := s.write(name, data)
	if err != nil {
		return err
	}
	return w.Commit()
}

// PutIfAbsent implements [storage.Store]. That a name is taken is as lasting as that
// it was created: who took it may have died before syncing the folder.
func (s *Store) PutIfAbsent(_ context.Context, name string, data []byte) error {
	err := s.putIfAbsent(name, data)
	if errors.Is(err, storage.ErrExist) {
		if serr := s.syncDir(filepath.Dir(s.path(name))); serr != nil {
			return explain("sync folder of", name, serr)
		}
	}
	return err
}

func (s *Store) putIfAbsent(name string, data []byte) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if len(data) == 0 {
		return s.createEmpty(name)
	}
	if _, err := s.fs.Stat(s.path(name)); err == nil {
		return explain("create", name, fs.ErrExist)
	}
	w, err := s.write(name, data)
	if err != nil {
		return err
	}
	return w.finish(func(from, to string) error {
		if err := s.fs.Link(from, to); err != nil {
			return err
		}
		_ = s.fs.Remove(from) // the file has its name; what is left under the other is swept
		return nil
	})
}

// createEmpty makes a file that nobody writes to, as markers and most pending instants are.
// It is whole when it has its name, so it needs no other one before, and has nothing to sync
// but that name. One that is there, or a folder, is [storage.ErrExist].
func (s *Store) createEmpty(name string) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	at := s.path(name)
	if _, err := s.fs.Stat(at); err == nil {
		return explain("create", name, fs.ErrExist)
	}
	if err := s.dropChecksum(name); err != nil {
		return err
	}
	f, err := s.createIn(filepath.Dir(at), at)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return explain("create", name, err)
	}
	return explain("sync folder of", name, s.syncDir(filepath.Dir(at)))
}

// PutIfMatch implements [storage.Store]. Who replaces a file holds its lock, which
// ends with the process: one that dies in between blocks nobody, one that only
// stands still cannot write over the work of another when it goes on.
func (s *Store) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	if err := storage.CheckName(name); err != nil {
		return "", fmt.Errorf("replace: %w", err)
	}
	lock, err := s.lock(ctx, name)
	if absent(err) {
		return "", fmt.Errorf("replace %s: %w", name, storage.ErrConflict)
	}
	if err != nil {
		return "", explain("replace", name, err)
	}
	defer func() { _ = lock.Close() }()
	_, have, err := s.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) || err == nil && have != v {
		return "", fmt.Errorf("replace %s: %w", name, storage.ErrConflict)
	}
	if err != nil {
		return "", err
	}
	if err := s.Put(ctx, name, data); err != nil {
		return "", err
	}
	return versionOf(data), nil
}

// lockWait is how long another may take to replace a file: far longer than it takes.
const lockWait = 10 * time.Second

// lock waits for the lock of a file.
func (s *Store) lock(ctx context.Context, name string) (io.Closer, error) {
	deadline := time.Now().Add(lockWait)
	for wait := time.Millisecond; ; wait = min(2*wait, lockWait/100) {
		l, err := s.fs.Lock(s.path(name))
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return l, err
		}
		if time.Now().After(deadline) {
			return nil, fmt.Errorf("another process has had its lock for %v; is it stopped?: %w", lockWait, err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(wait):
		}
	}
}
