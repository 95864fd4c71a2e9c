package parity_test

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"lakefeed/change"
	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// streamed is a table that Spark keeps as HoodieStreamer does with Debezium's source for PostgreSQL: its columns and
// types, its payload, its checkpoint in the commits.
type streamed struct {
	spark  *parity.Engine
	db     *pgtest.Database
	name   string
	folder string
	offset int
	opts   parity.Options
}

const streamedColumns = `_change_operation_type string, _upstream_event_processed_ts_ms bigint, db_shard_source_partition string, db_schema_source_partition string,
	_event_origin_ts_ms bigint, _event_tx_id bigint, _event_lsn bigint, _event_xmin bigint,
	id int, v string, big string, at string, seen bigint, day int, clock bigint, amount decimal(10,2), region string`

func (s *streamed) create(t *testing.T, properties string) {
	t.Helper()
	_, err := s.spark.SQL(t.Context(), "", fmt.Sprintf(`CREATE TABLE adopt_%s (%s) USING hudi %s LOCATION '%s'`, s.name, streamedColumns, properties, s.folder), nil)
	if err != nil {
		t.Fatal(err)
	}
}

// write lets Spark commit events of rows, given by a query of id and the rest, as a batch of the topic.
func (s *streamed) write(t *testing.T, op, where, big string) {
	t.Helper()
	at, err := change.ParseLSN(s.db.Query(t, "select pg_current_wal_insert_lsn()")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, row := range s.db.Query(t, fmt.Sprintf(`select row_to_json(r) from (select id, v, %s as big, to_char(at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') as at,
		(extract(epoch from seen) * 1000000)::bigint as seen, day - date '1970-01-01' as day, (extract(epoch from clock) * 1000000)::bigint as clock, amount::text as amount, region from %s where %s) r`, big, s.name, where)) {
		rows = append(rows, event(t, row[0], op, at))
	}
	s.commit(t, rows)
}

// event is a row with Debezium's columns.
func event(t *testing.T, row, op string, at change.LSN) string {
	t.Helper()
	r := map[string]any{}
	if err := json.Unmarshal([]byte(row), &r); err != nil {
		t.Fatal(err)
	}
	r["_change_operation_type"], r["_event_lsn"], r["db_shard_source_partition"], r["_event_tx_id"] = op, int64(at), "shop", 7
	out, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// remove commits deletes, which have the key alone, and here the partition.
func (s *streamed) remove(t *testing.T, ids ...int) {
	t.Helper()
	at, err := change.ParseLSN(s.db.Query(t, "select pg_current_wal_insert_lsn()")[0][0])
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, id := range ids {
		rows = append(rows, event(t, fmt.Sprintf(`{"id": %d, "region": "r%d"}`, id, id%3), "d", at))
	}
	s.commit(t, rows)
}

func (s *streamed) commit(t *testing.T, rows []string) {
	t.Helper()
	s.offset += len(rows)
	s.opts["deltastreamer.checkpoint.key"] = fmt.Sprintf("shop.public.%s,0:%d", s.name, s.offset)
	if err := s.spark.Write(t.Context(), s.folder, "upsert", rows, s.opts); err != nil {
		t.Fatal(err)
	}
}

// TestAdopt takes tables over that Spark keeps as HoodieStreamer does, with inserts, updates and deletes before, between
// and behind: validate finds no difference, and Spark and hudi-rs read what we do.
func TestAdopt(t *testing.T) {
	spark := parity.Spark(t, "0.15.0")
	db := pgtest.NewDatabase(t)
	rows := "insert into %s select i, 'v' || i, repeat(md5(i::text), 100), timestamptz '2026-01-02 03:04:05.678901+00' + i * interval '1 hour', timestamp '2026-01-02 03:04:05.123456', date '2026-01-02' + i, time '03:04:05.5', i * 1.25, 'r' || i %% 3 from generate_series(%d, %d) i"
	l := laketest.New(t, db.URL, "      - match: public.c\n        path: raw/c\n        partition_by: region\n      - match: public.*\n        path: raw/{table}", "")
	tables := []*streamed{{name: "m"}, {name: "c"}}
	for _, s := range tables {
		db.Exec(t, fmt.Sprintf("create table %s (id int primary key, v text, big text, at timestamptz, seen timestamp, day date, clock time, amount numeric(10,2), region text)", s.name),
			fmt.Sprintf("alter table %s alter big set storage external", s.name), fmt.Sprintf(rows, s.name, 1, 60))
		s.spark, s.db, s.folder = spark, db, filepath.Join(l.Dir, "raw", s.name)
		s.opts = parity.Options{
			"hoodie.datasource.write.payload.class": "org.apache.hudi.common.model.debezium.PostgresDebeziumAvroPayload", "hoodie.datasource.write.commitmeta.key.prefix": "deltastreamer.",
			"hoodie.index.type": "BLOOM", "hoodie.metadata.enable": strconv.FormatBool(s.name == "c"),
		}
		kind, by := "mor", ""
		if s.name == "c" {
			kind, by = "cow", " PARTITIONED BY (region)"
		}
		s.create(t, fmt.Sprintf("TBLPROPERTIES (type = '%s', primaryKey = 'id', preCombineField = '_event_lsn', payloadClass = 'org.apache.hudi.common.model.debezium.PostgresDebeziumAvroPayload')%s", kind, by))
		s.write(t, "r", "true", "big")
	}
	merging := map[string]string{"m": "__debezium_unavailable_value keeps the value of before"} // of a copy-on-write table nothing says it
	for _, s := range tables {
		out := l.Run(0, "adopt", "public."+s.name)
		for _, want := range []string{"HoodieStreamer's checkpoint: shop.public." + s.name + ",0:60", "seen (timestamp without time zone) from int64", merging[s.name]} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q: %s", want, out)
			}
		}
	}
	if out := l.Run(4, "run", "--once"); !strings.Contains(out, "goes on until it has passed") {
		t.Fatal(out)
	}
	for _, s := range tables {
		db.Exec(t, fmt.Sprintf("update %s set v = 'between' where id %% 7 = 0", s.name), fmt.Sprintf("delete from %s where id in (5, 10)", s.name), fmt.Sprintf(rows, s.name, 61, 70))
		s.write(t, "u", "id % 7 = 0", "'__debezium_unavailable_value'") // what the log did not have
		s.remove(t, 5, 10)
		s.write(t, "c", "id between 61 and 65", "big")
		db.Exec(t, fmt.Sprintf("update %s set v = 'late' where id %% 9 = 0", s.name), fmt.Sprintf("delete from %s where id = 17", s.name), fmt.Sprintf("update %s set id = 1000 where id = 20", s.name))
		l.Run(3, "adopt", "--stopped", "public."+s.name)
		l.Run(0, "adopt", "--stopped", "--retype", "public."+s.name)
	}
	l.Run(0, "run", "--once")
	adopted(t, l, tables)
	for _, s := range tables {
		db.Exec(t, fmt.Sprintf("update %s set v = 'after' where id %% 11 = 0", s.name), fmt.Sprintf("delete from %s where id = 23", s.name), fmt.Sprintf(rows, s.name, 71, 72), fmt.Sprintf("update %s set region = 'r9' where id = 24", s.name))
	}
	l.Run(0, "run", "--once")
	adopted(t, l, tables)
}

// adopted holds tables that were taken over against the source, and against what engines read.
func adopted(t *testing.T, l *laketest.Lake, tables []*streamed) {
	t.Helper()
	l.Run(0, "validate")
	for _, s := range tables {
		if out, err := laketest.Command(t.Context(), t, "table", "check", s.folder).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		want, err := laketest.Command(t.Context(), t, "table", "read", s.folder, "--format", "jsonl").Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []*parity.Engine{s.spark, parity.HudiRS(t)} {
			got, err := e.Read(t.Context(), s.folder, parity.Read{NoMeta: true})
			if err != nil {
				t.Fatal(err)
			}
			if d := parity.Diff(strings.Split(strings.TrimSpace(string(want)), "\n"), got); d != "" {
				t.Errorf("%s, %s: %s", s.name, e, d)
			}
		}
	}
}
