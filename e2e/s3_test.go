package e2e

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"

	"lakefeed/internal/laketest"
	"lakefeed/internal/pgtest"
	"lakefeed/internal/s3test"
)

// TestS3 runs the whole path into a bucket, whose server loses a request now and then,
// and kills lakefeed on its way.
func TestS3(t *testing.T) {
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
	for i, want := range []string{"copy", "data file", "publish", "rollback", "compaction", "ack"} {
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
