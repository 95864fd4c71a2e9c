package hudi

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"lakefeed/storage"
)

// Folders and files of a table.
const (
	metaFolder     = ".hoodie"
	tempFolder     = ".hoodie/.temp"
	propertiesFile = ".hoodie/hoodie.properties"
	propertiesCopy = ".hoodie/hoodie.properties.backup" // there while Hudi rewrites the other
	partitionFile  = ".hoodie_partition_metadata"
)

// newFile is a data file that is being written, through a buffer.
type newFile struct {
	*bufio.Writer
	name string
	w    storage.Writer
	done bool
}

func (t *Table) createFile(ctx context.Context, name string) (*newFile, error) {
	w, err := t.store.Create(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("create %s: %w", name, err)
	}
	return &newFile{bufio.NewWriterSize(w, 64<<10), name, w, false}, nil
}

// commit makes the file appear, whole.
func (f *newFile) commit() error {
	err := f.Flush()
	if err == nil {
		f.done = true
		err = f.w.Commit()
	}
	if err != nil {
		return fmt.Errorf("finish %s: %w", f.name, err)
	}
	return nil
}

// abort forgets the file unless it is committed.
func (f *newFile) abort() {
	if !f.done {
		f.done = true
		_ = f.w.Abort() // what it leaves was never seen, and the caller has an error already
	}
}

func (t *Table) openFile(ctx context.Context, name string) (storage.Reader, error) {
	r, err := t.store.Open(ctx, name)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", name, err)
	}
	return r, nil
}

// closeFile closes a file that was read, about which an error says nothing.
func closeFile(f io.Closer) { _ = f.Close() }

// manyFolders is how many folders of partitions are listed one by one in a store that lists
// a tree at once: such a listing passes over .hoodie, too.
const manyFolders = 30

// listFiles are the data files of the table: of its folder, and where it has
// partitions of all folders below it but for .hoodie.
func (t *Table) listFiles(ctx context.Context) ([]*DataFile, error) {
	if len(t.partition.fields) == 0 {
		return t.listFolder(ctx, "", false)
	}
	folders, err := t.store.Dirs(ctx, "")
	if err != nil {
		return nil, fmt.Errorf("list table %s: %w", t.name, err)
	}
	if len(folders) > manyFolders && storage.ListsFlat(t.store) {
		return t.listFolder(ctx, "", true)
	}
	out, err := t.listFolder(ctx, "", false)
	for _, f := range folders {
		if err != nil {
			return nil, err
		}
		if f == metaFolder {
			continue
		}
		var files []*DataFile
		files, err = t.listFolder(ctx, f, true)
		out = append(out, files...)
	}
	return out, err
}

// listFolder are the data files of one folder, with deep those below it too, but for .hoodie.
func (t *Table) listFolder(ctx context.Context, folder string, deep bool) ([]*DataFile, error) {
	var out []*DataFile
	for info, err := range t.store.List(ctx, folder, deep) {
		if err != nil {
			return nil, fmt.Errorf("list table %s: %w", t.name, err)
		}
		if strings.HasPrefix(info.Name, metaFolder+"/") {
			continue
		}
		if f, ok := parseDataFile(info.Name, info.Size); ok {
			out = append(out, f)
		}
	}
	return out, nil
}

// exists tells whether a small file is there.
func exists(ctx context.Context, store storage.Store, name string) (bool, error) {
	_, _, err := store.Get(ctx, name)
	if errors.Is(err, storage.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
