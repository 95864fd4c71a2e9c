package e2e

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lakefeed/internal/laketest"
	"lakefeed/internal/long"
	"lakefeed/internal/pgtest"
	"lakefeed/internal/s3test"
)

// TestS3 runs the whole path into a bucket, whose server loses a request now and then,
// and kills lakefeed on its way.
func TestS3(t *testing.T) { killOnS3(t, "copy") }

// TestS3Long kills it in more phases.
func TestS3Long(t *testing.T) {
	long.Test(t)
	killOnS3(t, "copy", "data file", "publish", "rollback", "compaction", "ack")
}

func killOnS3(t *testing.T, phases ...string) {
	t.Helper()
	t.Parallel()
	seed, rng := newSeed(t)
	server := s3test.Start(t)
	bucket := strings.Replace(server.Bucket(t), server.URL, flaky(t, server, seed).URL, 1)
	db := pgtest.NewDatabase(t)
	db.Exec(t, loadSchema...)
	l := laketest.NewAt(t, db.URL, strings.Replace(bucket, "?", "/the/lake?", 1), `      - match: public.folded
        table_type: copy_on_write
      - match: public.*`, `    commit_interval: 200ms
    compact_after: 2
    retain_commits: 1`)
	l.Run(0, "check")
	load := startLoad(t, db, seed)
	for i, want := range phases {
		if want == "copy" {
			load.newTable(i)
		}
		hit, err := killIn(l, want, rng)
		if err != nil {
			t.Fatalf("seed %d, kill in %s: %v", seed, want, err)
		}
		t.Logf("killed in %s", hit)
		load.check()
	}
	load.stop()
	l.Run(0, "run", "--once")
	t.Log(l.Run(0, "validate"))
	if out := l.Run(0, "status"); !strings.Contains(out, "public.folded") {
		t.Errorf("status shows\n%s", out)
	}
	table := strings.Replace(bucket, "?", "/the/lake/public/folded?", 1)
	if out, err := laketest.Command(t.Context(), t, "table", "show", table).CombinedOutput(); err != nil {
		t.Errorf("table show %s: %v\n%s", table, err, out)
	}
}

// flaky is a proxy that does something to every two hundredth request.
func flaky(t *testing.T, server *s3test.Server, seed uint64) *s3test.Proxy {
	t.Helper()
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed, 3))
	return s3test.NewProxy(t, server, func(*http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(200) > 0 {
			return s3test.None
		}
		return s3test.Fault(1 + random.IntN(int(s3test.CutBody)))
	})
}

// TestS3RequestsLong counts what rounds of one changed table ask of the server: docs/performance.md
// has the list.
func TestS3RequestsLong(t *testing.T) {
	long.Test(t)
	t.Parallel()
	const rounds, most = 10, 17 // requests a round; 16 are measured, and now and then one for the replay
	server := s3test.Start(t)
	var mu sync.Mutex
	seen := map[string]int{}
	proxy := s3test.NewProxy(t, server, func(r *http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		seen[r.Method+" "+kindOf(r.URL)]++
		return s3test.None
	})
	db := pgtest.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY, v text)", "INSERT INTO t SELECT i, '' FROM generate_series(1, 100) i")
	l := laketest.NewAt(t, db.URL, strings.Replace(server.Bucket(t), server.URL, proxy.URL, 1),
		"      - match: public.t\n        buckets: 2", "    commit_interval: 100ms\n    compact_after: 1000")
	run := startRun(t, l)
	var began time.Time
	for i := range rounds + 2 {
		if i == 2 { // the first ones are not like the others
			awaitAck(t, db, run)
			mu.Lock()
			clear(seen)
			began = time.Now()
			mu.Unlock()
		}
		db.Exec(t, fmt.Sprintf("UPDATE t SET v = 'round %d'", i))
		awaitAck(t, db, run)
	}
	mu.Lock()
	total := 0
	for _, kind := range slices.Sorted(maps.Keys(seen)) {
		total += seen[kind]
		t.Logf("%5.1f a round: %s", float64(seen[kind])/rounds, kind)
	}
	mu.Unlock()
	t.Logf("%5.1f in all, in %v", float64(total)/rounds, time.Since(began))
	byTime := int(2 * time.Since(began) / time.Second) // beats, and looks whether the claim is ours still
	if total < 15*rounds || total > most*rounds+byTime {
		t.Errorf("%d requests in %d rounds, want 15 to %d a round, and at most %d more for the time that it took", total, rounds, most, byTime)
	}
	for _, want := range []string{
		`lakefeed_storage_requests_total{operation="PutObject",pipeline="` + l.Name + `"} `,
		`lakefeed_storage_sent_bytes_total{operation="PutObject"`,
	} {
		if text := scrape(t, l); !strings.Contains(text, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	run.stop()
}

// kindOf says what a request is about, without the names that differ.
func kindOf(u *url.URL) string {
	kind := regexp.MustCompile(`^/[^/]+/`).ReplaceAllString(u.Path, "")
	kind = regexp.MustCompile(`[0-9]{17}|[0-9a-f]{8}-[0-9a-f-]+(_[0-9-]+)*|test_[0-9_]+|lakefeed-probe.*|[.]log[.].*`).ReplaceAllString(kind, "*")
	if u.Query().Has("list-type") {
		kind += "list of " + regexp.MustCompile(`[0-9]{17}`).ReplaceAllString(u.Query().Get("prefix"), "*")
	}
	return kind
}

// scrape is what /metrics of the pipeline's server has.
func scrape(t *testing.T, l *laketest.Lake) string {
	t.Helper()
	address := regexp.MustCompile(`"address": "([^"]+)"`).FindStringSubmatch(l.Run(0, "status", "--json"))
	if address == nil {
		t.Fatal("the server's address is not in the status")
	}
	resp, err := http.Get("http://" + address[1] + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A bucket that is not there, and one that may not be written, are named by check with
// the way out, and run does not try again.
func TestS3Refused(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	db := pgtest.NewDatabase(t)
	db.Exec(t, "CREATE TABLE t (id int PRIMARY KEY)")
	tables := "      - match: public.*"
	l := laketest.NewAt(t, db.URL, s3test.URL("no-such-bucket", server.URL), tables, "")
	for _, want := range []string{"NoSuchBucket", "make the bucket", "s3://no-such-bucket"} {
		if out := l.Run(3, "check"); !strings.Contains(out, want) {
			t.Errorf("check does not say %q:\n%s", want, out)
		}
	}
	if out := l.Run(4, "run", "--once"); !strings.Contains(out, "NoSuchBucket") {
		t.Errorf("run says\n%s", out)
	}

	l = laketest.NewAt(t, db.URL, server.Bucket(t), tables, "")
	cmd := l.Command(context.Background(), "check")
	cmd.Env = append(cmd.Environ(), "AWS_SECRET_ACCESS_KEY=another-secret")
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "does not know these credentials") || strings.Contains(string(out), "another-secret") {
		t.Errorf("check with a wrong secret: %v\n%s", err, out)
	}
}
