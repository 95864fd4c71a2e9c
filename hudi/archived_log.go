package hudi

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"lakefeed/hudi/internal/offset"
	"lakefeed/hudi/logfile"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// The archived timeline of layout 1 is log files of Avro blocks, each record a file of
// the timeline: docs/format/archived-timeline.md.
const (
	archivePrefix = ".commits_.archive."
	archiveSuffix = "_1-0-1"
	mergePlanFile = "mergeArchivePlan"
)

// archiveLog is a file of the archive.
type archiveLog struct {
	name   string // in the archive's folder
	number int    // a later file has a greater one
	size   int64
}

// parseArchiveLog knows a file of the archive by its name.
func parseArchiveLog(name string) (l archiveLog, ok bool) {
	rest, ok := strings.CutPrefix(name, archivePrefix)
	digits, _, _ := strings.Cut(rest, "_")
	n, err := strconv.Atoi(digits)
	return archiveLog{name: name, number: n}, ok && err == nil && n > 0 && !strings.HasSuffix(name, ".crc")
}

// logs are the archive's files, the oldest first.
func (r *archiveReader) logs(ctx context.Context) ([]archiveLog, error) {
	var logs []archiveLog
	for info, err := range r.store.List(ctx, r.folder, false) {
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", r.folder, err)
		}
		if l, ok := parseArchiveLog(path.Base(info.Name)); ok {
			l.size = info.Size
			logs = append(logs, l)
		}
	}
	slices.SortFunc(logs, func(a, b archiveLog) int { return cmp.Compare(a.number, b.number) })
	return logs, nil
}

func (r *archiveReader) readLogs(ctx context.Context) error {
	logs, err := r.logs(ctx)
	if err != nil {
		return err
	}
	for _, l := range logs {
		err := r.readLog(ctx, path.Join(r.folder, l.name))
		if corrupt := new(CorruptError); errors.As(err, &corrupt) {
			merging, planErr := r.merging(ctx)
			if planErr != nil {
				return errors.Join(err, planErr)
			}
			if merging == l.name {
				continue // a copy, half written, of what other files still hold
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// merging is the name of the file that Hudi was joining others into.
func (r *archiveReader) merging(ctx context.Context) (string, error) {
	data, ok, err := r.get(ctx, mergePlanFile)
	if err != nil || !ok || len(data) == 0 {
		return "", err
	}
	p, err := timeline.DecodeMergeArchivePlan(data)
	if err != nil {
		return "", &CorruptError{path.Join(r.folder, mergePlanFile), err}
	}
	return path.Base(p.MergedArchiveFileName), nil
}

func (r *archiveReader) readLog(ctx context.Context, name string) error {
	f, err := r.store.Open(ctx, name)
	if errors.Is(err, storage.ErrNotExist) {
		return nil // it was joined with others meanwhile, which come later
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", name, err)
	}
	defer closeFile(f)
	var d timeline.ArchivedDecoder
	file := &reading{Reader: f, path: name}
	blocks := logfile.NewReader(file, file.Size())
	for ctx.Err() == nil {
		b, err := blocks.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", name, err)
		}
		if err := r.readBlock(&d, b); errors.Is(err, errEnough) {
			return err
		} else if err != nil {
			return file.corrupt(offset.At(b.Offset, fmt.Errorf("%s block: %w", b.Type, err)))
		}
	}
	return ctx.Err()
}

func (r *archiveReader) readBlock(d *timeline.ArchivedDecoder, b *logfile.Block) error {
	if b.Type != logfile.AvroData {
		return errors.New("it has no archived instants")
	}
	content, err := b.Content(nil)
	if err != nil {
		return err
	}
	for record, err := range logfile.Records(content) {
		if err != nil {
			return err
		}
		e, err := d.Decode(b.Header[logfile.Schema], record)
		if err != nil {
			return err
		}
		if e.Instant.State != timeline.Completed {
			continue
		}
		if e.Commit != nil && e.Commit.Compacted && e.Instant.Action == timeline.Commit {
			e.Instant.Action = timeline.Compaction
		}
		if err := r.pass(ArchivedInstant{e.Instant, e.Commit, e.Clean}); err != nil {
			return err
		}
	}
	return nil
}

const (
	archiveBlockBytes = 64 << 10  // then another block is begun: each has the schema, of some KiB
	archiveFileBytes  = 8 << 20   // then another file is begun
	archiveShortBytes = 256 << 10 // a file that is shorter is gone on with
)

// archiveWriter writes entries of the archived timeline of layout 1, in memory until a
// file is full. What it wrote counts once flush returned nil.
type archiveWriter struct {
	store   storage.Store
	folder  string
	next    int   // number of the next file, if nobody has it
	written int64 // bytes, in whole files
	file    []byte
	content []byte
	entries int
}

// add appends an entry.
func (w *archiveWriter) add(ctx context.Context, e *timeline.ArchivedEntry) error {
	at := len(w.content)
	content, err := e.Append(append(w.content, 0, 0, 0, 0))
	if err != nil {
		return err
	}
	binary.BigEndian.PutUint32(content[at:], uint32(len(content)-at-4))
	w.content = content
	if w.entries++; len(w.content) < archiveBlockBytes {
		return nil
	}
	if err := w.endBlock(); err != nil {
		return err
	}
	if len(w.file) < archiveFileBytes {
		return nil
	}
	return w.flush(ctx)
}

func (w *archiveWriter) endBlock() error {
	if w.entries == 0 {
		return nil
	}
	err := logfile.NewWriter((*appender)(&w.file)).Data(logfile.Header{Schema: timeline.ArchivedSchema()}, w.content, w.entries)
	w.content, w.entries = w.content[:0], 0
	return err
}

// appender is a byte slice as a writer.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

// flush makes a file of what was added since the last. Its name is one that nobody has.
func (w *archiveWriter) flush(ctx context.Context) error {
	if err := w.endBlock(); err != nil || len(w.file) == 0 {
		return err
	}
	for {
		w.next = max(w.next, 1)
		name := path.Join(w.folder, archivePrefix+strconv.Itoa(w.next)+archiveSuffix)
		w.next++
		err := w.store.PutIfAbsent(ctx, name, w.file)
		if errors.Is(err, storage.ErrExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		w.written += int64(len(w.file))
		w.file = w.file[:0]
		return nil
	}
}
