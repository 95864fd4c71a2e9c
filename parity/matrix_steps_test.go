package parity_test

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
)

// step does something to the table and to the model, and says what.
type step = func() (did string, err error)

// ours are Lakefeed's steps, the frequent ones several times.
func (m *matrixRun) ours() []step {
	upsert := func() (string, error) { return m.upsert(1 + m.rnd.IntN(12)) }
	out := []step{upsert, upsert, upsert, m.insert, m.bulkInsert, m.remove, m.remove, m.overwrite, m.cluster, m.clean, m.archive, m.savepoint, m.savepoint}
	if m.partitioned() {
		out = append(out, m.dropPartition)
	}
	if m.typ == hudi.MergeOnRead {
		out = append(out, m.compact, m.compact)
	}
	return out
}

// sparks are Spark's.
func (m *matrixRun) sparks() []step {
	upsert := func() (string, error) { return m.sparkUpsert(nil) }
	cleaning := func() (string, error) {
		did, err := m.sparkUpsert(map[string]string{"hoodie.clean.automatic": "true", "hoodie.cleaner.commits.retained": "2"})
		return did + ", which cleans", err
	}
	out := []step{upsert, upsert, upsert, m.sparkDelete, cleaning}
	if m.typ == hudi.MergeOnRead {
		out = append(out, m.sparkCompact)
	}
	if m.index != hudi.IndexBucket {
		out = append(out, m.sparkCluster)
	}
	return out
}

func (m *matrixRun) keyOf(r matrixRow) string {
	if m.partitioned() {
		return r.part + "/" + r.id
	}
	return r.id
}

func (m *matrixRun) partitionPath(part string) string {
	switch m.layout {
	case "hive":
		return "part=" + part
	case "plain":
		return part
	}
	return ""
}

// change makes rows of keys that are there and that are not; with fresh those of new
// keys only.
func (m *matrixRun) change(n int, fresh bool) (rows []matrixRow) {
	used := map[string]bool{}
	m.lsn++
	for len(rows) < n {
		r := matrixRow{id: fmt.Sprintf("k%d", m.rnd.IntN(60)), part: string("abc"[m.rnd.IntN(3)]), price: m.rnd.Int64N(100_000), lsn: m.lsn}
		if fresh {
			r.id = fmt.Sprintf("f%d.%d", m.lsn, len(rows))
		}
		if used[m.keyOf(r)] {
			continue
		}
		used[m.keyOf(r)] = true
		r.n = m.rnd.Int32N(4) * m.rnd.Int32N(1000)
		r.body = strings.Repeat("text ", m.rnd.IntN(5))
		rows = append(rows, r)
	}
	return rows
}

func (m *matrixRun) put(rows []matrixRow) {
	for _, r := range rows {
		m.rows[m.keyOf(r)] = r
	}
}

// reopen opens the table anew now and then, else goes on with the one that was open
// while Spark wrote.
func (m *matrixRun) reopen() {
	if m.rnd.IntN(3) == 0 {
		m.table = m.open()
	}
}

// write is a step that writes a batch of rows.
func (m *matrixRun) write(what string, rows []matrixRow, write func(arrow.RecordBatch) (string, error)) (string, error) {
	m.reopen()
	batch := matrixBatch(rows)
	defer batch.Release()
	instant, err := write(batch)
	return fmt.Sprintf("%s of %d rows %s", what, len(rows), instant), err
}

func (m *matrixRun) upsert(n int) (string, error) {
	rows := m.change(n, false)
	m.put(rows)
	return m.write("upsert", rows, func(b arrow.RecordBatch) (string, error) { return m.table.Upsert(m.t.Context(), b) })
}

func (m *matrixRun) insert() (string, error) {
	rows := m.change(1+m.rnd.IntN(6), true)
	m.put(rows)
	return m.write("insert", rows, func(b arrow.RecordBatch) (string, error) { return m.table.Insert(m.t.Context(), b) })
}

func (m *matrixRun) bulkInsert() (string, error) {
	rows := m.change(1+m.rnd.IntN(20), true)
	m.put(rows)
	return m.write("bulk insert", rows, func(b arrow.RecordBatch) (string, error) {
		var batches iter.Seq2[arrow.RecordBatch, error] = func(yield func(arrow.RecordBatch, error) bool) { yield(b, nil) }
		return m.table.BulkInsert(m.t.Context(), batches, hudi.BulkOptions{})
	})
}

// overwrite replaces the rows of some partitions, or of the whole table.
func (m *matrixRun) overwrite() (string, error) {
	rows := m.change(10+m.rnd.IntN(10), false)
	parts := map[string]bool{}
	for _, r := range rows {
		parts[r.part] = true
	}
	maps.DeleteFunc(m.rows, func(_ string, r matrixRow) bool { return parts[r.part] || !m.partitioned() })
	m.put(rows)
	return m.write("insert overwrite", rows, func(b arrow.RecordBatch) (string, error) { return m.table.InsertOverwrite(m.t.Context(), b) })
}

func (m *matrixRun) remove() (string, error) {
	rows := m.pick(1 + m.rnd.IntN(5))
	m.reopen()
	keys := map[string][]string{}
	for _, r := range rows {
		keys[m.partitionPath(r.part)] = append(keys[m.partitionPath(r.part)], r.id)
		delete(m.rows, m.keyOf(r))
	}
	instant, err := m.table.DeleteFrom(m.t.Context(), keys)
	return fmt.Sprintf("delete of %d rows %s", len(rows), instant), err
}

func (m *matrixRun) dropPartition() (string, error) {
	m.reopen()
	part := string("abc"[m.rnd.IntN(3)])
	rest := maps.Clone(m.rows)
	maps.DeleteFunc(rest, func(_ string, r matrixRow) bool { return r.part == part })
	if len(rest) == 0 {
		return "nothing: the only partition stays", nil
	}
	m.rows = rest
	instant, err := m.table.DeletePartitions(m.t.Context(), m.partitionPath(part))
	return fmt.Sprintf("delete of partition %s %s", part, instant), err
}

func (m *matrixRun) compact() (string, error) {
	m.reopen()
	instant, err := m.table.Compact(m.t.Context(), hudi.CompactOptions{})
	return "compaction " + instant, err
}

func (m *matrixRun) cluster() (string, error) {
	m.reopen()
	opts := hudi.ClusterOptions{}
	if m.index == hudi.IndexBucket || m.rnd.IntN(2) == 0 {
		opts.SortBy = []string{"n"}
	}
	res, err := m.table.Cluster(m.t.Context(), opts)
	return fmt.Sprintf("clustering by %v %s", opts.SortBy, res.Instant), err
}

func (m *matrixRun) clean() (string, error) {
	m.reopen()
	res, err := m.table.Clean(m.t.Context(), hudi.CleanOptions{RetainCommits: 1 + m.rnd.IntN(3)})
	return fmt.Sprintf("cleaning of %d files %s", res.Files, res.Instant), err
}

func (m *matrixRun) archive() (string, error) {
	m.reopen()
	res, err := m.table.Archive(m.t.Context(), hudi.ArchiveOptions{KeepMin: 2 + m.rnd.IntN(3), KeepMax: 5})
	return fmt.Sprintf("archiving of %d instants, held by %q", res.Instants, res.Held), err
}

// savepoint makes one, or restores the one that there is, or releases it.
func (m *matrixRun) savepoint() (did string, err error) {
	m.reopen()
	if m.saved == nil {
		instant, err := m.table.Savepoint(m.t.Context(), hudi.SavepointOptions{By: "matrix"})
		m.saved = &savedRows{instant, maps.Clone(m.rows)}
		return "savepoint " + instant, err
	}
	did = "release of savepoint " + m.saved.instant
	if m.rnd.IntN(2) == 0 {
		did = "restore of savepoint " + m.saved.instant
		m.rows = m.saved.rows
		if _, err := m.table.Restore(m.t.Context(), m.saved.instant); err != nil {
			return did, err
		}
	}
	err = m.table.ReleaseSavepoint(m.t.Context(), m.saved.instant)
	m.saved = nil
	return did, err
}

func (m *matrixRun) sparkUpsert(more map[string]string) (string, error) {
	rows := m.change(1+m.rnd.IntN(12), false)
	m.put(rows)
	opts := m.sparkOptions()
	opts["hoodie.clean.automatic"] = "false"
	maps.Copy(opts, more)
	return fmt.Sprintf("Spark's upsert of %d rows", len(rows)), m.spark.WriteExactly(m.t.Context(), m.path, "upsert", texts(rows), opts)
}

func (m *matrixRun) sparkDelete() (string, error) {
	rows := m.pick(1 + m.rnd.IntN(5))
	for _, r := range rows {
		delete(m.rows, m.keyOf(r))
	}
	opts := m.sparkOptions()
	opts["hoodie.clean.automatic"] = "false"
	return fmt.Sprintf("Spark's delete of %d rows", len(rows)), m.spark.WriteExactly(m.t.Context(), m.path, "delete", texts(rows), opts)
}

func texts(rows []matrixRow) (out []string) {
	for _, r := range rows {
		out = append(out, r.String())
	}
	return out
}

// serviceOptions are those of docs/spark-writers.md for Spark's procedures.
func (m *matrixRun) serviceOptions(more ...string) string {
	o := []string{"hoodie.metadata.enable=false", "hoodie.write.table.version=6", "hoodie.write.auto.upgrade=false", "hoodie.datasource.write.recordkey.field=id", "hoodie.index.type=" + string(m.index)}
	if m.index == hudi.IndexBucket {
		o = append(o, fmt.Sprintf("hoodie.bucket.index.num.buckets=%d", m.buckets))
	}
	return strings.Join(slices.Concat(o, more), ",")
}

func (m *matrixRun) sparkCompact() (string, error) {
	for _, op := range []string{"schedule", "run"} {
		call := fmt.Sprintf("CALL run_compaction(op => '%s', path => '{path}', options => '%s')", op, m.serviceOptions("hoodie.compact.inline.max.delta.commits=1"))
		if _, err := m.spark.SQL(m.t.Context(), m.path, call, nil); err != nil {
			return "Spark's compaction, " + op, err
		}
	}
	return "Spark's compaction", nil
}

func (m *matrixRun) sparkCluster() (string, error) {
	// Hudi 0.15 writes decimals as integers in a clustering, without the last option.
	call := fmt.Sprintf("CALL run_clustering(path => '{path}', options => '%s')", m.serviceOptions("hoodie.clean.automatic=false", "hoodie.parquet.writelegacyformat.enabled=true"))
	_, err := m.spark.SQL(m.t.Context(), m.path, call, nil)
	return "Spark's clustering", err
}
