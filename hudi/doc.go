// Package hudi reads and writes Apache Hudi tables of version 6, copy-on-write and
// merge-on-read, without a JVM.
//
// [Create] makes a table in a folder of a [storage.Store], [Open] opens one. Rows are
// Arrow records. [Table.Upsert] and [Table.Delete] are one transaction each;
// [Table.Begin] opens one whose parts are written one by one, several at a time if
// need be. [Table.Read] streams the rows, [Table.Lookup] finds some by key,
// [Table.Changes] streams what commits changed. Tables of versions 8 and 9 are read,
// not written.
//
//	table, err := hudi.Create(ctx, store, hudi.CreateOptions{
//		Name:          "orders",
//		Type:          hudi.MergeOnRead,
//		Schema:        schema,
//		RecordKey:     []string{"id"},
//		OrderingField: "version",
//		Buckets:       4,
//	})
//	_, err = table.Upsert(ctx, rows)
//	for batch, err := range table.Read(ctx, hudi.ReadOptions{}) { ... }
//
// # How a table is laid out
//
// Rows may be laid into partitions, folders by the values of some columns
// ([CreateOptions]). A partition is a set of file groups, one for each hash bucket of the
// record key or, with another [IndexType], as many as its rows fill. A file group is a sequence of file slices; a slice is a base file (Parquet) and, on
// merge-on-read tables, the log files written on top of it. The timeline, a folder of
// small files named by instant, says which of them count: what belongs to an instant
// that did not complete is not there for a reader. The byte formats live in packages
// of their own: timeline, basefile, logfile, schema.
//
// # Writers
//
// A table has one writer at a time, or with [Concurrency] several that share a
// [lock.Locker]; a [Table] runs one transaction at a time. Any number of readers may read
// beside it, and a [Pin] keeps what a long read needs. What a crashed writer left is rolled
// back by [Table.Recover], which each transaction calls when there is need. All
// writers decide what becomes of the timeline by the table's claim, one after the other, so
// that two which take themselves for the only one lose nothing: see [ConflictError].
//
// # Files
//
//   - table.go (Create, Open), options.go, properties.go, errors.go
//   - key.go, bucket.go: record keys, and the buckets that they live in
//   - file_group.go, view.go, state.go, read_commit.go: from the timeline and a listing to file slices
//   - partition.go: rows to folders; refresh.go: what other writers did
//   - index.go, the file groups of keys: index_scan.go, index_key.go
//     (keyindex has its store); write_assign.go, rows to file groups; write_insert.go
//   - write.go, the story of a transaction; write_base.go, write_log.go,
//     write_marker.go, write_commit.go; write_rows.go, whole transactions in one call;
//     write_sorted.go, changes of many file groups, by sort.go; write_bulk.go
//   - write_take_over.go: a table of other writers becomes one of hash buckets
//   - recover.go, write_rollback.go: what a crash left
//   - metadata_table.go: one that Spark made is removed; properties_change.go
//   - dates.go: what others take a file's date for
//   - claim.go, claim_holder.go: by what writers decide, and who is at work
//   - concurrency.go, heartbeat.go: several writers (package lock has their locks);
//     pin.go
//   - read.go; read_slice.go and read_logs.go, base and logs merged; read_blocks.go,
//     read_fill.go, read_parallel.go; lookup.go
//   - merge.go, merge_order.go, merge_keys.go: which record of a key counts
//   - schema_history.go: columns that were renamed, dropped or moved
//   - changes.go, changes_images.go: what commits changed
//   - version.go, archived.go: tables of other versions, and what archiving took off the
//     timeline (archived_log.go, archived_history.go)
//   - table services: service.go, what they share; service_compact.go (service_compact_steps.go), service_cluster.go and service_convert.go (rows
//     laid out anew, write_replace.go), service_clean.go, service_archive.go,
//     service_savepoint.go, service_restore.go; service_run.go, behind commits or beside a writer
//     (service_names.go)
//   - filter.go: conditions on rows; filter_eval.go, filter_prune.go
//   - table_files.go, what each file is to a reader; check_table.go, a table proved sound:
//     check_timeline.go, check_folder.go, check_data.go, check_rows.go, key_census.go
//   - import.go, a table of Parquet files; import_spill.go, import_types.go
//   - rows.go, schema_evolve.go, files.go: what these share; sort.go, rows in order, on
//     disk what does not fit: sort_key.go, sort_run.go
package hudi
