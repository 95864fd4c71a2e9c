// Package basefile reads and writes Hudi's base files: Parquet files of rows with their
// meta columns, whose footers keep a Bloom filter and the range of the record keys. It
// knows nothing of tables.
//
// A [Writer] makes a file of batches of rows, a [Rewrite] one that is an older file with
// some rows changed: what does not change is copied as bytes, down to the page. A
// [Reader] streams the rows of a file, a [RowReader] some of them, from as few pages as
// these need.
//
//	w, err := basefile.NewWriter(dst, basefile.WriterOptions{AvroSchema: avro, Schema: schema})
//	err = w.Write(batch)
//	stats, err := w.Close()
//
//	r, err := basefile.Open(src, size, schema) // of the columns that are wanted
//	err = r.Each(ctx, func(batch arrow.RecordBatch) error { ... })
//
// Bytes that are no Parquet, or damaged, are an error and never a panic. The layout of
// the files is in docs/format/base-file.md.
//
// # Files
//
//   - write.go, write_snappy.go; bloom.go, bloom_read.go: the filter of a footer; key.go
//   - read.go, read_flat.go and read_flat_runs.go (columns that are not nested), read_int96.go; read_checked.go (pages against
//     their checksums), read_sound.go (arrays of damaged files)
//   - pick.go, some rows; prune.go and value.go: the pages that a condition leaves
//   - rewrite.go, rewrite_keys.go: a file with changes, of row groups that are copied,
//     spliced or decoded
//   - Parquet as bytes: copy_footer.go, copy_format.go, copy_thrift.go (where all lies),
//     copy_frame.go, copy_walk.go (pages and their checksums), copy_group.go, copy_chunk.go, copy_page.go, copy_levels.go, copy_cursor.go (down to
//     the values of a row), copy_edit.go, copy_stats.go, copy_write.go, copy_pages.go
//   - check_pages.go, check_stats.go: what a file says of itself
package basefile
