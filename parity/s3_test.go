package parity_test

import (
	"fmt"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/internal/s3test"
	"lakefeed/parity"
)

// TestS3 lets every engine read tables in a bucket, Spark go on with them, and Lakefeed
// after Spark.
func TestS3(t *testing.T) {
	engines := parity.Engines(t)
	server := s3test.Start(t)
	db := pgtest.NewDatabase(t)
	const rows = `select json_build_object('id', id, 'n', n, 'body', body) from %s`
	tables := map[string]bool{"cow_t": false, "mor_t": true}
	for name := range tables {
		db.Exec(t, fmt.Sprintf(`create table %s (id int primary key, n int, body text)`, name),
			fmt.Sprintf(`insert into %s select i, i, md5(i::text) from generate_series(1, 50) i`, name))
	}
	lake := strings.Replace(server.Bucket(t), "?", "/lake?", 1)
	l := laketest.NewAt(t, db.URL, lake, `      - match: public.cow_*
        table_type: copy_on_write
        buckets: 2
      - match: public.*
        buckets: 2`, "")
	step := func(what, change string) {
		t.Helper()
		for name := range tables {
			db.Exec(t, fmt.Sprintf(change, name))
		}
		l.Run(0, "run", "--once")
		for name := range tables {
			sameAsSource(t, db, inBucket(lake, name), fmt.Sprintf(rows, name))
		}
		if t.Failed() {
			t.Fatalf("after %s", what)
		}
	}
	step("the first copy", `select '%s'`)
	step("changes", `with gone as (delete from %[1]s where id %% 10 = 0) update %[1]s set n = n + 1000 where id %% 10 = 3`)

	for _, e := range engines[:2] { // both releases of Spark
		for name, mor := range tables {
			path := inBucket(lake, name)
			opts := sparkOptions(name, "id", 2)
			if mor {
				opts["hoodie.datasource.write.table.type"] = "MERGE_ON_READ"
			}
			before := agreed(t, path, parity.Read{})
			if t.Failed() { // an engine that hangs does so for minutes, in each job
				t.FailNow()
			}
			one := byID(t, before, "1").with("n", `77`)
			if err := e.WriteExactly(t.Context(), path, "upsert", []string{one.String()}, opts); err != nil {
				t.Fatal(err)
			}
			if d := parity.Diff(append(without(t, before, "1"), one.String()), agreed(t, path, parity.Read{})); d != "" {
				t.Errorf("after %s: %s", e, d)
			}
		}
	}
	step("Spark's upserts", `update %s set n = -id where id < 5`)
	t.Log(l.Run(0, "validate"))
}

// inBucket is the URL of a table of a lake in a bucket.
func inBucket(lake, table string) string {
	return strings.Replace(lake, "?", "/public/"+table+"?", 1)
}
