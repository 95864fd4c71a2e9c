package postgres

import (
	"strings"
	"testing"

	"lakefeed/internal/pgtest"
)

// TestBlockers names the transaction that a slot would wait for.
func TestBlockers(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t, pgtest.Options{Conf: map[string]string{"max_prepared_transactions": "2"}})
	db := server.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)", "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'half'")
	open := db.Conn(t)
	if _, err := open.Exec(t.Context(), "BEGIN; INSERT INTO t VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	c, err := Open(t.Context(), Options{URL: db.URL, Pipeline: db.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	got, err := c.blockers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if text := strings.Join(got, "; "); !strings.Contains(text, "prepared transaction 'half'") || !strings.Contains(text, "process ") {
		t.Errorf("blockers: %s", text)
	}
	db.Exec(t, "ROLLBACK PREPARED 'half'")
}
