package e2e

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/internal/s3test"
)

// TestGovernorLong has a bucket that refuses every write while 128 MB of log pass, at 3 MB a second: the slot's
// lag stays within the budget of 48 MiB all the time, and when the bucket takes writes again the tables equal the source.
func TestGovernorLong(t *testing.T) {
	long.Test(t)
	govern(t, outpour{bytes: 128 << 20, step: 256 << 10, rate: 3 << 20, spool: 48 << 20})
}

// TestGovernorSoak lets 2 GB pass, at 20 MB a second: the slot's lag stays within the budget of 256 MiB.
func TestGovernorSoak(t *testing.T) {
	if os.Getenv("LAKEFEED_SOAK") == "" {
		t.Skip("make soak runs it")
	}
	govern(t, outpour{bytes: 2 << 30, step: 2 << 20, rate: 20 << 20, spool: 256 << 20})
}

// outpour is how much log passes while the bucket refuses writes.
type outpour struct {
	bytes, step int64 // in all, and at once
	rate        int64 // bytes a second, at most
	spool       int64 // the budget: within which the slot's lag is to stay
}

// kept is what the source may keep: the lag, and what it decodes again from where it last noted which transactions
// ran, every 15 seconds.
func (o *outpour) kept() int64 { return o.spool + 20*o.rate }

func govern(t *testing.T, o outpour) {
	t.Parallel()
	server := s3test.Start(t)
	var refuses atomic.Bool
	var refused atomic.Int64
	proxy := s3test.NewProxy(t, server, func(r *http.Request) s3test.Fault {
		if refuses.Load() && r.Method != http.MethodGet && r.Method != http.MethodHead {
			refused.Add(1)
			return s3test.SlowDown
		}
		return s3test.None
	})
	s := pgtest.Start(t, pgtest.Options{Conf: map[string]string{"max_wal_size": "4GB", "fsync": "off"}})
	db := s.NewDatabase(t)
	db.Exec(t, `create table wide (id int primary key, n int not null default 0, body text)`, `alter table wide alter body set storage external`,
		`create table narrow (id bigserial primary key, v text)`, `insert into wide select i, 0, repeat(md5(i::text), 30) from generate_series(1, 2000) i`)
	bucket := strings.Replace(server.Bucket(t), server.URL, proxy.URL, 1)
	l := laketest.NewAt(t, db.URL, strings.Replace(bucket, "?", "/lake?", 1), `      - match: public.*`, fmt.Sprintf(`    commit_interval: 1s
    spool: {url: "file://%s"}
    wal_budget: {warn: 4MiB, spool: %dMiB}`, t.TempDir(), o.spool>>20))
	run := startRun(t, l)
	awaitInStep(t, l, run, time.Minute)
	refuses.Store(true)
	begin, most, end := pour(t, db, o)
	awaitAck(t, db, run) // while the bucket refuses
	if refused.Load() == 0 {
		t.Error("nothing was written into the bucket")
	}
	status := l.Run(0, "status")
	refuses.Store(false)
	awaitInStep(t, l, run, time.Minute+time.Duration(o.bytes>>20)*time.Second)
	took := time.Since(end)
	run.stop()
	l.Run(0, "run", "--once")
	t.Log(l.Run(0, "validate"))
	t.Logf("%d MB of log in %s: at most %d MB behind what is confirmed, %d MB kept; in step %s after the end\n%s",
		o.bytes>>20, end.Sub(begin).Round(time.Second), most.lag>>20, most.kept>>20, took.Round(time.Second), status)
	if most.lag > o.spool || most.kept > o.kept() {
		t.Errorf("at most %d MB behind, %d MB kept; want %d and %d", most.lag>>20, most.kept>>20, o.spool>>20, o.kept()>>20)
	}
	for _, want := range []string{"is away", "wait in the spool"} {
		if !strings.Contains(status, want) {
			t.Errorf("status does not say %q:\n%s", want, status)
		}
	}
}

// held is what the source keeps for a slot, in bytes.
type held struct{ lag, kept int64 }

// pour makes log until there is enough, no faster than it is to be, and measures what the source keeps meanwhile.
func pour(t *testing.T, db *pgtest.Database, o outpour) (begin time.Time, most held, end time.Time) {
	t.Helper()
	begin = time.Now()
	first := wal(t, db, "0")
	for i := 0; ; i++ {
		rows := o.step / 1200
		db.Exec(t, fmt.Sprintf(`insert into narrow (v) select repeat(md5(i::text || %d), 30) from generate_series(1, %d) i`, i, rows*3/4),
			fmt.Sprintf(`update wide set n = n + 1, body = case when id %% 3 = %d %% 3 then repeat(md5(n::text), 30) else body end where id between %d and %d`, i, i*50%2000, i*50%2000+int(rows)/4))
		if i%10 == 0 {
			db.Exec(t, fmt.Sprintf(`delete from narrow where id %% 97 = %d`, i%97))
		}
		at := wal(t, db, "0")
		most.lag = max(most.lag, at-wal(t, db, "1"))
		most.kept = max(most.kept, at-wal(t, db, "2"))
		if at-first >= o.bytes {
			return begin, most, time.Now()
		}
		<-time.After(time.Until(begin.Add(time.Duration(float64(at-first) / float64(o.rate) * float64(time.Second)))))
	}
}

// wal is a position of the log as a number: 0 its end, 1 what the slot has confirmed, 2 what is kept for it.
func wal(t *testing.T, db *pgtest.Database, which string) int64 {
	t.Helper()
	v := db.Query(t, `select ((array[pg_current_wal_lsn(), confirmed_flush_lsn, restart_lsn])[`+which+` + 1] - '0/0')::bigint from pg_replication_slots where database = '`+db.Name+`' and not temporary`)[0][0]
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// awaitInStep waits until status shows every table streaming, and nothing in the spool.
func awaitInStep(t *testing.T, l *laketest.Lake, run *run, limit time.Duration) {
	t.Helper()
	deadline := time.Now().Add(limit)
	for {
		out := l.Run(0, "status")
		if strings.Count(out, "streaming") >= 3 && !strings.Contains(out, "wait in the spool") {
			return
		}
		if time.Now().After(deadline) {
			run.kill()
			<-run.done
			t.Fatalf("not in step:\n%s%s", out, run.out.String())
		}
		<-time.After(500 * time.Millisecond)
	}
}
