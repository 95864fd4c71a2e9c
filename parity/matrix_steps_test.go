package parity_test

import (
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"lakefeed/hudi"
	"lakefeed/parity"
)

// step does something to the table and to the model, and says what.
type step = func() (did string, err error)

// ours are Lakefeed's steps, the frequent ones several times.
func (m *matrixRun) ours() []step {
	upsert := func() (string, error) { return m.upsert(1 + m.rnd.IntN(12)) }
	out := []step{upsert, upsert, upsert, m.insert, m.bulkInsert, m.remove, m.remove, m.overwrite, m.cluster, m.clean, m.archive, m.savepoint, m.savepoint}
	out = append(out, m.rollback)
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
	if !m.hashed() {
		out = append(out, m.sparkCluster)
	}
	if m.index == hudi.IndexGlobalKey {
		out = append(out, m.sparkMove)
	}
	return append(out, m.sparkSavepoint, m.sparkSavepoint)
}

func (m *matrixRun) keyOf(r matrixRow) string {
	if m.partitioned() && !m.global() {
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
	rows := m.change(10+m.rnd.IntN(10), m.global()) // it looks for no key elsewhere
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
	var all []string
	for _, r := range rows {
		keys[m.partitionPath(r.part)] = append(keys[m.partitionPath(r.part)], r.id)
		all = append(all, r.id)
		delete(m.rows, m.keyOf(r))
	}
	if m.global() {
		instant, err := m.table.Delete(m.t.Context(), all...)
		return fmt.Sprintf("delete of %d keys %s", len(rows), instant), err
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
	if m.hashed() || m.rnd.IntN(2) == 0 {
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

// rollback takes the newest write back, whoever wrote it, if the table before it is known
// and whole.
func (m *matrixRun) rollback() (string, error) {
	m.reopen()
	if err := m.table.Refresh(m.t.Context()); err != nil {
		return "refresh", err
	}
	done := m.table.Timeline().Completed()
	if len(done) < 2 {
		return "nothing: no write to take back", nil
	}
	before, known := m.history[done[len(done)-2].Time]
	if !known || m.saved != nil && m.saved.instant == done[len(done)-1].Time {
		return "nothing: the write before is not known, or the newest one saved", nil
	}
	did := "rollback of " + done[len(done)-1].Time
	_, err := m.table.Rollback(m.t.Context(), "")
	if errors.Is(err, hudi.ErrCleaned) {
		return did + ", refused", nil
	}
	m.rows = maps.Clone(before)
	return did, err
}

// savepoint makes one, or restores the one that there is, or releases it.
func (m *matrixRun) savepoint() (string, error) {
	m.reopen()
	return m.saves("", func() (string, error) {
		return m.table.Savepoint(m.t.Context(), hudi.SavepointOptions{By: "matrix"})
	}, func(instant string) error {
		_, err := m.table.Restore(m.t.Context(), instant)
		return err
	}, func(instant string) error { return m.table.ReleaseSavepoint(m.t.Context(), instant) })
}

// sparkSavepoint is the same by Spark's procedures, on savepoints of both.
func (m *matrixRun) sparkSavepoint() (string, error) {
	call := func(procedure, argument, instant string) error {
		rows, err := m.spark.SQL(m.t.Context(), m.path, fmt.Sprintf("CALL %s(path => '{path}', %s => '%s')", procedure, argument, instant), m.settings())
		if err == nil && (len(rows) != 1 || !strings.Contains(rows[0], "true")) {
			err = fmt.Errorf("it says %v", rows)
		}
		return err
	}
	return m.saves("Spark's ", func() (string, error) {
		last, _ := m.open().Timeline().Last()
		return last.Time, call("create_savepoint", "commit_time", last.Time)
	}, func(instant string) error {
		return call("rollback_to_savepoint", "instant_time", instant)
	}, func(instant string) error { return call("delete_savepoint", "instant_time", instant) })
}

func (m *matrixRun) saves(whose string, save func() (string, error), restore, release func(instant string) error) (did string, err error) {
	if m.saved == nil {
		instant, err := save()
		m.saved = &savedRows{instant, maps.Clone(m.rows)}
		return whose + "savepoint " + instant, err
	}
	did = whose + "release of savepoint " + m.saved.instant
	if m.rnd.IntN(2) == 0 {
		did = whose + "restore of savepoint " + m.saved.instant
		m.rows = m.saved.rows
		if err := restore(m.saved.instant); err != nil {
			return did, err
		}
	}
	err = release(m.saved.instant)
	m.saved = nil
	return did, err
}

func (m *matrixRun) sparkWrite(op string, rows []matrixRow, more map[string]string) (string, error) {
	opts := m.sparkOptions()
	opts["hoodie.clean.automatic"] = "false"
	maps.Copy(opts, more)
	return fmt.Sprintf("Spark's %s of %d rows", op, len(rows)), m.spark.WriteExactly(m.t.Context(), m.path, op, texts(rows), opts)
}

// sparkMakes has Spark make the table, as docs/spark-writers.md says, by a bulk insert or, in
// other tables, an insert; where it is partitioned with a metadata table, which we remove.
func (m *matrixRun) sparkMakes() (did string, err error) {
	rows := m.change(30, false)
	m.put(rows)
	op := []string{"bulk_insert", "insert"}[m.rnd.IntN(2)]
	opts := m.sparkOptions()
	maps.Copy(opts, parity.Options{
		"hoodie.datasource.write.payload.class": "org.apache.hudi.common.model.OverwriteWithLatestAvroPayload", "hoodie.clean.automatic": "false",
		"hoodie.metadata.enable": strconv.FormatBool(m.partitioned()),
	})
	const schema = "id string, part string, n int, price decimal(12,2), body string, _event_lsn bigint"
	if err = m.spark.Make(m.t.Context(), m.path, schema, op, texts(rows), opts); err == nil {
		m.table, err = hudi.Open(m.t.Context(), m.store(), m.options())
	}
	if err == nil && (m.table.Properties()["hoodie.table.metadata.partitions"] != "") != m.partitioned() {
		err = errors.New("it has no metadata table, or one that it was not to have")
	}
	return fmt.Sprintf("Spark's table of %d rows by %s", len(rows), op), err
}

func (m *matrixRun) sparkUpsert(more map[string]string) (string, error) {
	rows := m.change(1+m.rnd.IntN(12), false)
	for i, r := range rows {
		if old, there := m.rows[m.keyOf(r)]; there && m.index == hudi.IndexGlobalKey {
			rows[i].part = old.part // Spark finds it in its partition only
		}
	}
	m.put(rows)
	return m.sparkWrite("upsert", rows, more)
}

func (m *matrixRun) sparkDelete() (string, error) {
	rows := m.pick(1 + m.rnd.IntN(5))
	for _, r := range rows {
		delete(m.rows, m.keyOf(r))
	}
	return m.sparkWrite("delete", rows, nil)
}

// sparkMove lays rows into another partition, where Spark must delete them in the old one.
func (m *matrixRun) sparkMove() (string, error) {
	rows := m.pick(1 + m.rnd.IntN(5))
	if did, err := m.sparkWrite("delete", rows, nil); err != nil {
		return did, err
	}
	m.lsn++
	for i := range rows {
		rows[i].part, rows[i].lsn = string("abc"[m.rnd.IntN(3)]), m.lsn
	}
	m.put(rows)
	did, err := m.sparkWrite("upsert", rows, nil)
	return did + ", deleted in their old partitions before", err
}

func texts(rows []matrixRow) (out []string) {
	for _, r := range rows {
		out = append(out, r.String())
	}
	return out
}

// settings are those of docs/spark-writers.md for procedures that take no options.
func (m *matrixRun) settings() parity.Options {
	return parity.Options{"hoodie.metadata.enable": "false", "hoodie.write.table.version": "6", "hoodie.write.auto.upgrade": "false", "hoodie.archive.automatic": "false"}
}

// serviceOptions are those of docs/spark-writers.md for Spark's procedures.
func (m *matrixRun) serviceOptions(more ...string) string {
	o := []string{"hoodie.metadata.enable=false", "hoodie.write.table.version=6", "hoodie.write.auto.upgrade=false", "hoodie.datasource.write.recordkey.field=id", "hoodie.index.type=" + m.sparkIndex()}
	if m.hashed() {
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
