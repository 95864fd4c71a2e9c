package hudi

import (
	"context"
	"errors"
	"fmt"
	"io"

	"lakefeed/hudi/basefile"
	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/schema"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// checkData opens every data file that counts: its footer, or the frame of its blocks.
func (c *checker) checkData(ctx context.Context) error {
	stats, err := c.stats(ctx)
	if err != nil {
		return err
	}
	for _, f := range c.files {
		switch f.State {
		case FileLive, FileOlder, FileReplaced:
		default:
			continue
		}
		if c.damaged[f.Path] {
			continue
		}
		check := c.checkBase
		if f.Data.IsLog() {
			check = c.checkLog
		}
		if err := check(ctx, f, stats[f.Path]); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return nil
}

// stats are what commits say of the rows of base files.
func (c *checker) stats(ctx context.Context) (map[string]timeline.WriteStat, error) {
	out := map[string]timeline.WriteStat{}
	for _, i := range c.timeline.Completed() {
		if c.damaged[c.table.instantFile(i)] {
			continue
		}
		m, err := c.table.readCommit(ctx, i)
		if err != nil {
			return nil, err
		}
		for _, list := range m.PartitionToWriteStats {
			for _, s := range list {
				if f, ok := parseDataFile(s.Path, 0); ok && !f.IsLog() {
					out[s.Path] = timeline.WriteStat{NumWrites: s.NumWrites, PrevCommit: i.Time}
				}
			}
		}
	}
	return out, nil
}

const fromCopy = "restore the file from a copy, or the table to a savepoint before that instant"

// checkBase reads a base file's footer.
func (c *checker) checkBase(ctx context.Context, f TableFile, stat timeline.WriteStat) error {
	c.report.BaseFiles++
	file, err := c.table.openFile(ctx, f.Path)
	if err != nil {
		return err
	}
	defer closeFile(file)
	r, err := basefile.Open(file, file.Size(), nil)
	if err != nil {
		return c.add(Broken, f.Path, max(file.Size()-8, 0), fromCopy, "%v", err)
	}
	defer func() { _ = r.Close() }()
	if stat.PrevCommit != "" && r.NumRows() != stat.NumWrites {
		return c.add(Broken, f.Path, -1, fromCopy, "it has %d rows, and commit %s wrote %d", r.NumRows(), stat.PrevCommit, stat.NumWrites)
	}
	if avro, ok := r.Footer(basefile.FooterAvroSchema); ok { // Spark's row writer leaves it out
		if _, err := schema.ToArrow(avro); err != nil {
			return c.add(Broken, f.Path, -1, fromCopy, "the schema in its footer: %v", err)
		}
	}
	return c.checkStatistics(ctx, f, file)
}

const clusterAnew = "write the file anew, by lakefeed table cluster or, of a merge-on-read table, the next compaction that has changes for it"

// checkStatistics compares what a base file states of its values with them.
func (c *checker) checkStatistics(ctx context.Context, f TableFile, file storage.Reader) error {
	if c.opts.Quick {
		return nil
	}
	wrong, err := basefile.CheckStatistics(ctx, file, file.Size())
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return c.add(Broken, f.Path, offset.Of(err), fromCopy, "%v", err)
	case wrong != "":
		return c.add(Broken, f.Path, -1, clusterAnew, "readers with a filter may pass over rows: %s", wrong)
	}
	return nil
}

// checkLog reads a log file's blocks.
func (c *checker) checkLog(ctx context.Context, f TableFile, _ timeline.WriteStat) error {
	c.report.LogFiles++
	file, err := c.table.openFile(ctx, f.Path)
	if err != nil {
		return err
	}
	defer closeFile(file)
	wrote := c.written.files(f.Data.Group(), c.timeline)[f.Data.Name]
	for r := logfile.NewReader(file, file.Size()); ; {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.add(Broken, f.Path, -1, fromCopy, "%v", err)
		}
		c.report.LogBlocks++
		if b.Type == logfile.Corrupt {
			commit, hit := wrote.at(b.Offset, b.Offset+b.Len)
			if err := c.checkCorrupt(f, b, commit, hit); err != nil {
				return err
			}
			continue
		}
		if err := c.checkBlock(ctx, b); err != nil {
			if err := c.add(Broken, f.Path, b.Offset, fromCopy, "%s block of %s: %v", b.Type, b.Instant(), err); err != nil {
				return err
			}
		}
	}
}

func (c *checker) checkCorrupt(f TableFile, b *logfile.Block, commit string, hit bool) error {
	if hit {
		return c.add(Broken, f.Path, b.Offset, fromCopy, "a block of commit %s is broken", commit)
	}
	return c.add(Note, f.Path, b.Offset, "the next compaction leaves it behind", "%d bytes are no block: a write that broke off left them, and readers pass them over", b.Len)
}

// checkBlock reads what a block frames: how many records it says it has, and that each
// can be found; of Parquet the pages.
func (c *checker) checkBlock(ctx context.Context, b *logfile.Block) error {
	switch b.Type {
	case logfile.AvroData:
		content, err := b.Content(nil)
		if err != nil {
			return err
		}
		return checkRecords(b.Header[logfile.Schema], content)
	case logfile.Delete:
		content, err := b.Content(nil)
		if err != nil {
			return err
		}
		_, err = logfile.DecodeDeletes(content)
		return err
	case logfile.ParquetData:
		section := b.Section()
		return basefile.CheckPages(ctx, section, section.Size())
	case logfile.Command:
		if _, ok := b.RollbackTarget(); !ok {
			return fmt.Errorf("unknown command %q", b.Header[logfile.CommandBlockType])
		}
	default:
	}
	return nil
}

// checkRecords finds each record of a data block, and its key.
func checkRecords(avro string, content []byte) error {
	scanner, err := logfile.NewScanner(avro, keyColumn)
	if err != nil {
		return err
	}
	values := make([]logfile.Value, 1)
	n := 0
	for record, err := range logfile.Records(content) {
		if err == nil {
			err = scanner.Scan(record, values)
		}
		if err != nil {
			return fmt.Errorf("record %d: %w", n, err)
		}
		n++
	}
	return nil
}
