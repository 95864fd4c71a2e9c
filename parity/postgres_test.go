package parity_test

import (
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/parity"
)

func TestPostgres(t *testing.T) {
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE DOMAIN price AS numeric(10,2)`, `CREATE TYPE mood AS ENUM ('glad', 'sad')`,
		`CREATE TABLE "T 1" (id int PRIMARY KEY, big int8, f4 float4, f8 float8, n numeric(8,3), u numeric, p price, ok bool,
			"text" text, c char(4), b bytea, d date, ts timestamp, tz timestamptz, iv interval, j jsonb, a text[], m mood)`,
		`INSERT INTO "T 1" VALUES (1, 9223372036854775807, 0.1, 1e20, 1.5, 2.25, 3, true, E'a"\nb', 'x', '\x00ff', '2026-01-02',
			'2026-01-02 03:04:05.6', '2026-01-02 03:04:05.6+02', '1 day 02:00', '{"k": 1}', '{a,NULL}', 'sad')`,
		`INSERT INTO "T 1" (id, f8, f4) VALUES (2, 'NaN', '-Infinity')`)
	got, err := parity.Postgres(t.Context(), db.URL, `"T 1"`, parity.Casts{"j": "length(j::text)"})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`{"id":1,"big":9223372036854775807,"f4":0.10000000149011612,"f8":100000000000000000000,"n":"1.500","u":"2.250000000000000000",
			"p":"3.00","ok":true,"text":"a\"\nb","c":"x   ","b":"AP8=","d":"2026-01-02","ts":"2026-01-02T03:04:05.600000",
			"tz":"2026-01-02T01:04:05.600000","iv":"1 day 02:00:00","j":8,"a":"[\"a\",null]","m":"sad"}`,
		`{"id":2,"big":null,"f4":"-inf","f8":"nan","n":null,"u":null,"p":null,"ok":null,"text":null,"c":null,"b":null,"d":null,
			"ts":null,"tz":null,"iv":null,"j":null,"a":null,"m":null}`,
	}
	if d := parity.Diff(want, got); d != "" {
		t.Error(d)
	}
}
