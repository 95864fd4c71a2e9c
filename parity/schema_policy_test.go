package parity_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

// onCall are the changes of schemas that kept people on call, each from the statements to
// what engines then read: under the policy evolve, and after a person has applied it under
// the others. Frozen is what they read before that under freeze, empty: as before the change.
var onCall = map[string]struct {
	table, before  []string
	sql            []string
	frozen, evolve []string
}{
	"required": { // a not-null column without a default
		table:  []string{"create table %s (id int primary key, v text)", "insert into %s values (1, 'a'), (2, 'b')"},
		before: []string{`{"id": 1, "v": "a"}`, `{"id": 2, "v": "b"}`},
		sql:    []string{"begin; delete from %[1]s; alter table %[1]s add n int not null; insert into %[1]s values (1, 'a', 10), (3, 'c', 30); commit", "update %s set v = 'd' where id = 3"},
		frozen: []string{`{"id": 1, "v": "a"}`, `{"id": 3, "v": "d"}`},
		evolve: []string{`{"id": 1, "v": "a", "n": 10}`, `{"id": 3, "v": "d", "n": 30}`},
	},
	"retyped": { // to a type that is none wider
		table:  []string{"create table %s (id int primary key, n int)", "insert into %s values (1, 1), (2, 2)"},
		before: []string{`{"id": 1, "n": 1}`, `{"id": 2, "n": 2}`},
		sql:    []string{"alter table %s alter n type text using 'no. ' || n", "insert into %s values (3, 'three')", "delete from %s where id = 2"},
		evolve: []string{`{"id": 1, "n": "no. 1"}`, `{"id": 3, "n": "three"}`},
	},
	"dropped": {
		table:  []string{"create table %s (id int primary key, v text, n int)", "insert into %s values (1, 'a', 1), (2, 'b', 2)"},
		before: []string{`{"id": 1, "v": "a", "n": 1}`, `{"id": 2, "v": "b", "n": 2}`},
		sql:    []string{"alter table %s drop v", "insert into %s values (3, 3)", "update %s set n = 20 where id = 2"},
		frozen: []string{`{"id": 1, "v": "a", "n": 1}`, `{"id": 2, "v": null, "n": 20}`, `{"id": 3, "v": null, "n": 3}`},
		evolve: []string{`{"id": 1, "v": "a", "n": 1}`, `{"id": 2, "v": null, "n": 20}`, `{"id": 3, "v": null, "n": 3}`},
	},
}

// TestSchemaPolicies makes each change under each policy, in both table types, and asks Spark.
func TestSchemaPolicies(t *testing.T) {
	spark := parity.Spark(t, "1.2.0")
	for _, policy := range []string{"evolve", "freeze", "pause"} {
		t.Run(policy, func(t *testing.T) { onCallUnder(t, spark, policy) })
	}
}

func onCallUnder(t *testing.T, spark *parity.Engine, policy string) {
	db := pgtest.NewDatabase(t)
	l := laketest.New(t, db.URL, "      - match: public.*_cow\n        table_type: copy_on_write\n      - match: public.*", "    schema: "+policy)
	each := func(fn func(name, table string)) {
		for name := range onCall {
			fn(name, name+"_mor")
			fn(name, name+"_cow")
		}
	}
	do := func(sql []string, table string) {
		for _, s := range sql {
			db.Exec(t, strings.Split(fmt.Sprintf(s, table), "; ")...)
		}
	}
	read := func(when string, want func(name string) []string) {
		t.Helper()
		each(func(name, table string) {
			path := filepath.Join(l.Dir, "public", table)
			rows, err := spark.Read(t.Context(), path, parity.Read{NoMeta: true})
			if d := parity.Diff(want(name), rows, parity.ExtraColumns...); err != nil || d != "" {
				t.Errorf("%s, %s: Spark: %v %s", table, when, err, d)
			}
			rows, err = parity.HudiRS(t).Read(t.Context(), path, parity.Read{NoMeta: true})
			if d := parity.Diff(want(name), rows, parity.ExtraColumns...); err != nil || d != "" {
				t.Errorf("%s, %s: hudi-rs: %v %s", table, when, err, d)
			}
			if d := parity.Diff(want(name), lakefeedRows(t, path, parity.Read{NoMeta: true}), parity.ExtraColumns...); d != "" {
				t.Errorf("%s, %s: lakefeed: %s", table, when, d)
			}
		})
	}
	each(func(name, table string) { do(onCall[name].table, table) })
	l.Run(0, "run", "--once")
	read("before", func(name string) []string { return onCall[name].before })
	each(func(name, table string) { do(onCall[name].sql, table) })
	if policy == "evolve" {
		l.Run(0, "run", "--once")
	} else {
		l.Run(4, "run", "--once") // tables wait
		read("while it waits", func(name string) []string {
			if c := onCall[name]; policy == "freeze" && c.frozen != nil {
				return c.frozen
			}
			return onCall[name].before
		})
		l.Run(0, "schema", "apply")
		l.Run(0, "run", "--once")
	}
	read("after", func(name string) []string { return onCall[name].evolve })
	l.Run(0, "validate")
}
