package e2e

import (
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
)

// TestMessages keeps logical messages in a table of the lake: asked for from the start or
// later, over restarts, once each, with its place in the status and outside a comparison.
func TestMessages(t *testing.T) {
	t.Parallel()
	db := twoTables(t)
	b := newBad(t, db.URL, allTables, "")
	b.once(0)
	say := func(prefix, content string) {
		db.Exec(t, `SELECT pg_logical_emit_message(true, '`+prefix+`', '`+content+`')`)
	}
	say("outbox.order", "before anybody asked")
	b.once(0)
	b.rewrite("    lake:", "    messages: {match: ['outbox.*']}\n    lake:")
	b.once(0)
	say("outbox.order", `{"n": 1}`)
	say("other", "x")
	db.Exec(t, `BEGIN; INSERT INTO t VALUES (2, 'b'); SELECT pg_logical_emit_message(true, 'outbox.t', 'two'); COMMIT`,
		`BEGIN; SELECT pg_logical_emit_message(true, 'outbox.t', 'gone'); ROLLBACK`)
	b.well()
	folder := "_lakefeed/messages/" + b.Name
	text := b.table(folder, `"content": "\{\\"n\\": 1\}"`, `"prefix": "outbox.t", "content": "two", "content_bytes": null, .*"transactional": true`, "-before anybody", "-gone", `-"x"`)
	if n := strings.Count(text, "\n"); n != 2 {
		t.Errorf("%d messages\n%s", n, text)
	}
	b.once(0)
	say("outbox.order", "last")
	b.once(0)
	if again := b.table(folder, "last"); strings.Count(again, "\n") != 3 {
		t.Errorf("messages:\n%s", again)
	}
	b.run(0, []string{"status"}, `_lakefeed\.messages +\S+ .*`+folder)
}

// TestMessagesName: a table that has the name of ours is said, with the way out.
func TestMessagesName(t *testing.T) {
	t.Parallel()
	db := pgtest.NewDatabase(t)
	db.Exec(t, `CREATE SCHEMA _lakefeed`, `CREATE TABLE _lakefeed.messages (id int PRIMARY KEY)`)
	b := newBad(t, db.URL, `      - match: "*.*"`, "    messages: {match: ['*']}")
	b.check(found, `_lakefeed\.messages has the name .*leave it out, or rename it`)
	b.once(final, `_lakefeed\.messages has the name`)
}
