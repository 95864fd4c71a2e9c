// Package storage is where the bytes of a lake land: a bucket of S3 (storage/s3), a
// folder of the local disk (storage/file), memory (storage/mem). storagetest has
// the suite that every [Store] passes; storage/all opens one by its URL.
//
// What a Store promises is what Hudi's timeline needs: a name appears whole or
// not at all, a name can be created by one of several only, and what a call
// returned from is on stable storage.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"strings"
	"time"
)

// What calls return where a name is there, is not there, or is not what was expected.
var (
	ErrExist    = fmt.Errorf("exists already: %w", fs.ErrExist)
	ErrNotExist = fmt.Errorf("does not exist: %w", fs.ErrNotExist)
	ErrConflict = errors.New("was changed by another writer")
)

// CheckName refuses a name that no store takes: "", "..", "a//b", "/a" and such,
// which would be another file's name or lead out of the store.
func CheckName(name string) error {
	if name == "." || !fs.ValidPath(name) {
		return fmt.Errorf("name %q: want elements between slashes, none of them empty, . or ..: %w", name, fs.ErrInvalid)
	}
	return nil
}

// CheckFolder is [CheckName] for a folder, which may be "", the root.
func CheckFolder(folder string) error {
	if folder == "" {
		return nil
	}
	return CheckName(folder)
}

// Info is one file.
type Info struct {
	Name    string // slash-separated, relative to the store's root
	Size    int64  // bytes
	ModTime time.Time
}

// Version is the content of a small object at some time, as [Store.PutIfMatch] compares it.
type Version string

// Reader reads one file, from anywhere in it. A ReadAt that fails returns fewer bytes than it
// was asked for: [io.ReadFull] drops the error of a full answer.
type Reader interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Writer writes one file. Nothing is seen of it before Commit; when Commit
// returns nil, the file is whole and on stable storage. One of Commit and Abort
// must be called; Abort after Commit does nothing, so that it may be deferred.
// After a Write that failed, Commit fails too.
type Writer interface {
	io.Writer
	Commit() error
	Abort() error
}

// Store is a tree of files. Names are slash-separated and relative to its root, as
// [CheckName] has them. All methods may be called concurrently. A call that failed
// may have had its effect: whether it did, the caller reads.
type Store interface {
	// Open opens a file to read; [ErrNotExist].
	Open(ctx context.Context, name string) (Reader, error)
	// Get reads a small file whole; [ErrNotExist].
	Get(ctx context.Context, name string) ([]byte, Version, error)
	// Create writes a file of any size. At Commit it takes the place of one that is there.
	Create(ctx context.Context, name string) (Writer, error)
	// Put writes a small file, over one that is there.
	Put(ctx context.Context, name string, data []byte) error
	// PutIfAbsent writes a small file unless the name is taken; of several callers
	// one succeeds and the others get [ErrExist].
	PutIfAbsent(ctx context.Context, name string, data []byte) error
	// PutIfMatch writes a small file over the version that is there; [ErrConflict]
	// where another is, or none. Of several callers that replace one version one
	// succeeds. A name that is written so is not written by Put at the same time.
	PutIfMatch(ctx context.Context, name string, data []byte, v Version) (Version, error)
	// List yields the files in a folder ("" is the root) in the byte order of their
	// whole names, with recursive those in its subfolders too. A folder that is not there is empty.
	List(ctx context.Context, folder string, recursive bool) iter.Seq2[Info, error]
	// Dirs is the names of a folder's direct subfolders, in order.
	Dirs(ctx context.Context, folder string) ([]string, error)
	// Delete removes a file; one that is not there is no error.
	Delete(ctx context.Context, name string) error
	// DeleteAll removes a folder and everything in it; one that is not there is no error.
	DeleteAll(ctx context.Context, folder string) error
	// String is the store's URL, for people, without secrets.
	String() string
}

// ModTimeStep is what a store's modification times are rounded down to: a second in S3,
// less where they are by this computer's clock, and 0 where they are exact.
func ModTimeStep(s Store) time.Duration {
	if rounded, ok := s.(interface{ ModTimeStep() time.Duration }); ok {
		return rounded.ModTimeStep()
	}
	return 0
}

// ListsFlat tells whether a store lists a whole tree in the order of names, by requests of many files
// each, however many folders these are in, as S3 does.
func ListsFlat(s Store) bool {
	flat, ok := s.(interface{ ListsFlat() bool })
	return ok && flat.ListsFlat()
}

// Names is the names of the files in a folder, without its own, in their byte order. It
// asks for no more where a store has a method Names: on a disk, sizes and times cost
// several times what names do.
func Names(ctx context.Context, s Store, folder string) ([]string, error) {
	if n, ok := s.(namer); ok {
		return n.Names(ctx, folder)
	}
	var names []string
	for info, err := range s.List(ctx, folder, false) {
		if err != nil {
			return nil, err
		}
		names = append(names, info.Name[strings.LastIndexByte(info.Name, '/')+1:])
	}
	return names, nil
}

type namer interface {
	Names(ctx context.Context, folder string) ([]string, error)
}

// Sub is the store rooted at a folder of s.
func Sub(s Store, folder string) Store {
	folder = strings.Trim(folder, "/")
	if folder == "" {
		return s
	}
	return &sub{s, folder}
}

type sub struct {
	s      Store
	folder string
}

// at does not clean the name: the store refuses one that leads out of the folder.
func (s *sub) at(name string) string { return s.folder + "/" + name }

func (s *sub) in(folder string) string {
	if folder == "" {
		return s.folder
	}
	return s.at(folder)
}

func (s *sub) Open(ctx context.Context, name string) (Reader, error) {
	return s.s.Open(ctx, s.at(name))
}

func (s *sub) Get(ctx context.Context, name string) ([]byte, Version, error) {
	return s.s.Get(ctx, s.at(name))
}

func (s *sub) Create(ctx context.Context, name string) (Writer, error) {
	return s.s.Create(ctx, s.at(name))
}

func (s *sub) Put(ctx context.Context, name string, data []byte) error {
	return s.s.Put(ctx, s.at(name), data)
}

func (s *sub) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	return s.s.PutIfAbsent(ctx, s.at(name), data)
}

func (s *sub) PutIfMatch(ctx context.Context, name string, data []byte, v Version) (Version, error) {
	return s.s.PutIfMatch(ctx, s.at(name), data, v)
}

func (s *sub) Names(ctx context.Context, folder string) ([]string, error) {
	return Names(ctx, s.s, s.in(folder))
}

func (s *sub) List(ctx context.Context, folder string, recursive bool) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		for i, err := range s.s.List(ctx, s.in(folder), recursive) {
			i.Name = strings.TrimPrefix(i.Name, s.folder+"/")
			if !yield(i, err) {
				return
			}
		}
	}
}

func (s *sub) Dirs(ctx context.Context, folder string) ([]string, error) {
	return s.s.Dirs(ctx, s.in(folder))
}
func (s *sub) Delete(ctx context.Context, name string) error { return s.s.Delete(ctx, s.at(name)) }
func (s *sub) DeleteAll(ctx context.Context, folder string) error {
	return s.s.DeleteAll(ctx, s.in(folder))
}
func (s *sub) String() string             { return s.s.String() + "/" + s.folder }
func (s *sub) ModTimeStep() time.Duration { return ModTimeStep(s.s) }
func (s *sub) ListsFlat() bool            { return ListsFlat(s.s) }
