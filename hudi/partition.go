package hudi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"lakefeed/hudi/internal/column"
	"lakefeed/hudi/timeline"
	"lakefeed/storage"
)

// defaultPartition is the folder of rows whose partition column is null or empty.
const defaultPartition = "__HIVE_DEFAULT_PARTITION__"

// escaped are the characters that Hudi writes as %XX where it encodes partition
// paths, beside the control characters.
const escaped = "\"#%'*/:=?\\{[]^\x7f"

// partitioning is how a table's rows are laid into folders.
type partitioning struct {
	fields []string // none: all rows stand in the table's folder
	hive   bool     // folders are named column=value
	encode bool     // what may not stand in a folder's name is written as %XX
}

// depth is the number of folders between the table's and a file.
func (p partitioning) depth() int { return len(p.fields) }

func (p partitioning) equal(o partitioning) bool {
	return slices.Equal(p.fields, o.fields) && p.hive == o.hive && p.encode == o.encode
}

// paths makes the partition path of each of a batch's rows.
func (p partitioning) paths(batch arrow.RecordBatch) (*array.String, error) {
	b := array.NewStringBuilder(column.Allocator)
	defer b.Release()
	rows := int(batch.NumRows())
	b.Reserve(rows)
	texts := make([]func([]byte, int) []byte, len(p.fields))
	columns := make([]arrow.Array, len(p.fields))
	for i, name := range p.fields {
		at := batch.Schema().FieldIndices(name)
		if len(at) == 0 {
			return nil, fmt.Errorf("make partition paths: no column %s", name)
		}
		var err error
		columns[i] = batch.Column(at[0])
		if texts[i], err = partitionText(columns[i]); err != nil {
			return nil, fmt.Errorf("make partition paths: column %s: %w", name, err)
		}
	}
	var path, value []byte
	for row := range rows {
		path = path[:0]
		for i, text := range texts {
			if value = value[:0]; columns[i].IsValid(row) {
				value = text(value, row)
			}
			if i > 0 {
				path = append(path, '/')
			}
			from, reason := len(path), ""
			if path, reason = p.appendFolder(path, p.fields[i], value); reason != "" {
				return nil, &PartitionError{p.fields[i], string(path[from:]), reason}
			}
		}
		b.BinaryBuilder.Append(path)
	}
	return b.NewStringArray(), nil
}

// partitionText is keyText, but for text, which stays as it is.
func partitionText(col arrow.Array) (func(dst []byte, row int) []byte, error) {
	switch col := col.(type) {
	case *array.Null:
		return func(dst []byte, _ int) []byte { return dst }, nil
	case *array.String:
		return func(dst []byte, row int) []byte { return append(dst, col.Value(row)...) }, nil
	case *array.LargeString:
		return func(dst []byte, row int) []byte { return append(dst, col.Value(row)...) }, nil
	case *array.Binary, *array.FixedSizeBinary:
		return nil, errors.New("binary values make no folders: partition by another column")
	}
	return keyText(col, false)
}

// maxFolder is how long a folder's name may be on the file systems that there are.
const maxFolder = 255

// appendFolder appends the folder of a value; reason says why it cannot be one.
func (p partitioning) appendFolder(dst []byte, field string, value []byte) (_ []byte, reason string) {
	from := len(dst)
	if p.hive {
		dst = append(append(dst, field...), '=')
	}
	if len(value) == 0 {
		return append(dst, defaultPartition...), ""
	}
	name := len(dst)
	dst = p.appendEscaped(dst, string(value))
	if len(dst)-from > maxFolder {
		return dst, fmt.Sprintf("it would be %d bytes long, and may be %d", len(dst)-from, maxFolder)
	}
	return dst, p.checkFolder(string(dst[name:]))
}

// checkFolder refuses a value that would be another folder than one of its own.
func (p partitioning) checkFolder(name string) (reason string) {
	switch {
	case strings.Contains(name, "\x00"):
		return "it has a character NUL, which Hudi does not encode"
	case !utf8.ValidString(name):
		return "it is not UTF-8"
	case strings.ContainsFunc(name, func(r rune) bool { return r == '/' || r < 0x20 || r == 0x7f }):
		return "make the table with URLEncode"
	case !p.hive && (name == "." || name == ".." || strings.HasPrefix(name, metaFolder)):
		return "make the table with HiveStyle"
	}
	return ""
}

func (p partitioning) appendEscaped(dst []byte, s string) []byte {
	if !p.encode {
		return append(dst, s...)
	}
	for i := range len(s) {
		if c := s[i]; c > 0 && c < 0x20 || strings.IndexByte(escaped, c) >= 0 {
			dst = fmt.Appendf(dst, "%%%02X", c)
		} else {
			dst = append(dst, c)
		}
	}
	return dst
}

// check refuses a path that is none of the table's partitions.
func (p partitioning) check(path string) error {
	switch {
	case path == "" && p.depth() == 0:
		return nil
	case p.depth() == 0:
		return badOption("partition %q: the table has no partitions", path)
	case strings.Count(path, "/")+1 != p.depth() || storage.CheckName(path) != nil || strings.HasPrefix(path, metaFolder):
		return badOption("partition %q: want one folder for each of %s", path, strings.Join(p.fields, ", "))
	}
	return nil
}

// PartitionPaths returns the partition path of each of a batch's rows, as Hudi's key
// generators make it of the table's partition columns; empty texts where the table has
// no partitions. Values are written as in [RecordKeys], but for text, which stays as it
// is; null and empty become __HIVE_DEFAULT_PARTITION__. A value that cannot name a
// folder is an error.
func (t *Table) PartitionPaths(batch arrow.RecordBatch) (*array.String, error) {
	return t.partition.paths(batch)
}

// PartitionPaths is [Table.PartitionPaths] of the table that these options make.
func (o *CreateOptions) PartitionPaths(batch arrow.RecordBatch) (*array.String, error) {
	return partitioning{o.PartitionBy, o.HiveStyle, o.URLEncode}.paths(batch)
}

// PartitionBy names the columns that say which partition a row lies in, in the order
// of the folders; none for a table without partitions.
func (t *Table) PartitionBy() []string { return slices.Clone(t.partition.fields) }

// Partitions are the paths of the partitions that hold rows now, in order.
func (t *Table) Partitions() []string {
	var out []string
	for _, s := range t.Slices() {
		if len(out) == 0 || out[len(out)-1] != s.Partition {
			out = append(out, s.Partition)
		}
	}
	return out
}

// markPartition lets Spark find a partition: it reads the folders only in which this
// file stands. It comes before the first data file.
func (t *Table) markPartition(ctx context.Context, partition, instant string) error {
	t.mu.RLock()
	known := partition == "" || t.view.partitions[partition] != nil
	t.mu.RUnlock()
	if known {
		return nil
	}
	name := partition + "/" + partitionFile
	err := t.store.PutIfAbsent(ctx, name, partitionMark(t.opts, instant, strings.Count(partition, "/")+1))
	if err != nil && !errors.Is(err, storage.ErrExist) {
		return fmt.Errorf("create %s: %w", name, err)
	}
	return nil
}

// partitionMark is the text of the file that marks a folder of data files.
func partitionMark(opts Options, instant string, depth int) []byte {
	now := opts.Now().UTC()
	if instant == "" {
		instant = timeline.FormatTime(now)
	}
	return fmt.Appendf(nil, "#partition metadata\n#%s\ncommitTime=%s\npartitionDepth=%d\n",
		now.Format("Mon Jan 02 15:04:05 UTC 2006"), instant, depth)
}
