package hudi

import (
	"context"
	"errors"
	"path"
	"slices"

	"lakefeed/hudi/timeline"
)

// checkFolder accounts for every file in the table's folder, and for every file that
// commits wrote and that a reader needs.
func (c *checker) checkFolder(ctx context.Context) error {
	files, err := c.table.Files(ctx)
	if err != nil {
		return c.fault(err, "restore the file from a copy of the table")
	}
	c.files, c.sizes = files, map[string]int64{}
	marked, used := map[string]bool{}, []string{}
	for _, f := range files {
		c.report.Files++
		c.report.Bytes += f.Bytes
		c.sizes[f.Path] = f.Bytes
		switch {
		case f.State == FileMark:
			marked[folderOf(f.Path)] = true
		case f.State == FileLive && !slices.Contains(used, f.Data.Partition):
			used = append(used, f.Data.Partition)
		}
		if err := c.accountFor(f); err != nil {
			return err
		}
	}
	for _, p := range used {
		if !marked[p] {
			err := c.add(Broken, path.Join(p, partitionFile), -1, "copy the one of another partition: its partitionDepth fits",
				"it is missing: Spark does not find the rows of this folder")
			if err != nil {
				return err
			}
		}
	}
	if err := c.checkMissing(ctx); err != nil {
		return err
	}
	return c.checkSavepoints(ctx)
}

func folderOf(file string) string {
	if d := path.Dir(file); d != "." {
		return d
	}
	return ""
}

// accountFor tells of a file that is not part of the table.
func (c *checker) accountFor(f TableFile) error {
	switch f.State {
	case FileOrphan:
		return c.add(Leftover, f.Path, -1, "delete it: no reader uses it, and no cleaning finds it", "instant %s, which is of no commit, left it", f.Data.Instant)
	case FileForeign:
		return c.add(Leftover, f.Path, -1, "move it out of the table's folder", "it is no file of a Hudi table")
	case FilePending:
		return c.add(Note, f.Path, -1, "", "it is of an instant that is not completed")
	default:
		return nil
	}
}

// What it means that a file is missing, of now and of before.
const (
	rowsLost = "its rows are lost: restore the file from a copy, or the table to a savepoint before that commit"
	pastLost = "the table as of older instants needs it, and that of now does not: restore the file from a copy, or have it cleaned away"
)

// checkMissing looks for what commits of the timeline wrote and no cleaning deleted.
func (c *checker) checkMissing(ctx context.Context) error {
	if err := c.checkMissingOf(ctx, c.written, rowsLost); err != nil {
		return err
	}
	return c.checkMissingOf(ctx, c.older, pastLost)
}

func (c *checker) checkMissingOf(ctx context.Context, w *written, wayOut string) error {
	for _, id := range w.ids(checkScope{}.has) {
		for _, f := range w.files(id, c.timeline) {
			if c.damaged[f.Path()] {
				continue
			}
			size, there := c.sizes[f.Path()]
			if there {
				if err := c.checkSize(f, size); err != nil {
					return err
				}
				continue
			}
			_, err := c.table.openFile(ctx, f.Path())
			if err == nil {
				continue // written since
			}
			if err = c.table.missing(ctx, f, err); errors.Is(err, ErrCleaned) {
				continue
			}
			if err = c.fault(err, wayOut); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *checker) checkSize(f writtenFile, size int64) error {
	end := f.end()
	if end.to > 0 && (size < end.to || size > end.to && !f.IsLog()) {
		return c.add(Broken, f.Path(), min(size, end.to), "restore the file from a copy", "it is %d bytes, and commit %s wrote %d", size, end.commit, end.to)
	}
	return nil
}

// checkSavepoints looks whether what savepoints hold is there.
func (c *checker) checkSavepoints(ctx context.Context) error {
	for _, at := range c.timeline.Savepoints() {
		i := timeline.Instant{Time: at, Action: timeline.Savepoint, State: timeline.Completed}
		for _, o := range c.timeline.Instants() {
			if o.Time == at && o.Action == timeline.Savepoint {
				i = o
			}
		}
		data, err := c.table.readInstant(ctx, i)
		if err != nil {
			return err
		}
		m, err := timeline.DecodeSavepointMetadata(data)
		if err != nil {
			continue // told already
		}
		for partition, p := range m.PartitionMetadata {
			for _, f := range p.SavepointDataFile {
				name := path.Join(partition, path.Base(f))
				if _, there := c.sizes[name]; !there {
					if err := c.add(Broken, name, -1, "release the savepoint: the table cannot be restored to it", "it is missing, and savepoint %s holds it", at); err != nil {
						return err
					}
				}
			}
		}
	}
	return nil
}
