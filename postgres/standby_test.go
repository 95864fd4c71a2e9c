package postgres_test

import (
	"net/url"
	"testing"

	"lakefeed/internal/pgtest"
	"lakefeed/postgres"
)

// TestCheckStandby: what is missing for reading a standby is said, with the statement.
func TestCheckStandby(t *testing.T) {
	t.Parallel()
	primary := pgtest.Start(t, pgtest.Options{Version: 17})
	primary.Exec(t, "CREATE DATABASE shop", "CREATE ROLE feed LOGIN REPLICATION PASSWORD 'p'")
	shop := &pgtest.Database{Server: primary, Name: "shop", URL: primary.URL("shop")}
	shop.Exec(t, "CREATE TABLE orders (id int PRIMARY KEY)", "GRANT CREATE ON DATABASE shop TO feed", "ALTER TABLE orders OWNER TO feed")
	standby := primary.Standby(t, map[string]string{"hot_standby_feedback": "off"})
	opts := postgres.Options{URL: standby.URL("shop"), Pipeline: "shop"}
	wants(t, problems(t, opts),
		"hot_standby_feedback is off", "ALTER SYSTEM SET hot_standby_feedback = on",
		`CREATE PUBLICATION "lakefeed_shop" WITH (publish = 'insert, update, delete, truncate', publish_via_partition_root = true); -- on the primary`,
		`ALTER PUBLICATION "lakefeed_shop" ADD TABLE ONLY "public"."orders"; -- on the primary`)
	opts.PrimaryURL = standby.URL("shop")
	wants(t, problems(t, opts), "primary_url leads to a standby")
	opts.PrimaryURL = pgtest.NewDatabase(t).URL
	wants(t, problems(t, opts), "another database system")
	standby.Exec(t, "ALTER SYSTEM SET hot_standby_feedback = on", "SELECT pg_reload_conf()")
	opts.PrimaryURL = primary.URL("shop")
	for standby.Query(t, "SHOW hot_standby_feedback")[0][0] != "on" { // a moment
	}
	expect(t, "a standby without faults", problems(t, opts), "")
	u, err := url.Parse(opts.URL)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("feed", "p")
	opts.URL = u.String()
	wants(t, problems(t, opts), "GRANT EXECUTE ON FUNCTION pg_log_standby_snapshot() TO \"feed\"")
}
