package parity_test

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/hudi/lock/dynamolock"
	"lakefeed/internal/dynamotest"
	"lakefeed/internal/s3test"
	"lakefeed/parity"
	"lakefeed/storage/all"
	"lakefeed/storage/file"
)

// sharedLock is a lock that Spark and Lakefeed have between them, and the place of the
// table that it guards.
type sharedLock struct {
	name   string
	path   string // a folder or, in a bucket, its URL
	locker lock.Locker
	spark  parity.Options            // how Spark is told of it
	asked  func(by string) (n int64) // how often a library asked for it: aws-sdk-go or aws-sdk-java
}

// sparks are the options of docs/spark-writers.md for a table that Spark writes to while
// Lakefeed does.
func (l sharedLock) sparks(typ hudi.TableType) parity.Options {
	o := sparkOptions("shared", "id", 8)
	maps.Copy(o, parity.Options{
		"hoodie.datasource.write.table.type":  string(typ),
		"hoodie.write.concurrency.mode":       "optimistic_concurrency_control",
		"hoodie.cleaner.policy.failed.writes": "LAZY",
		"hoodie.clean.automatic":              "false",
		"hoodie.compact.inline":               "false",
	})
	maps.Copy(o, l.spark)
	return o
}

// isFree sees that nobody has left the lock taken.
func (l sharedLock) isFree(t *testing.T) {
	t.Helper()
	ctx, stop := context.WithTimeout(t.Context(), time.Minute)
	defer stop()
	lease, err := l.locker.Lock(ctx)
	if err == nil {
		err = lease.Unlock(ctx)
	}
	if err != nil {
		t.Errorf("the lock was left: %v", err)
	}
}

// fileLock is Hudi's lock on a file system.
func fileLock(t *testing.T) sharedLock {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shared")
	store, err := file.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	return sharedLock{"file", path, lock.NewFile(store, lock.FileOptions{Expire: time.Minute, Poll: 20 * time.Millisecond}), parity.Options{
		"hoodie.write.lock.provider":          "org.apache.hudi.client.transaction.lock.FileSystemBasedLockProvider",
		"hoodie.write.lock.filesystem.expire": "1",
	}, nil}
}

// dynamoLock is an item in DynamoDB, of a table in a folder.
func dynamoLock(t *testing.T) sharedLock {
	t.Helper()
	client := dynamotest.Start(t)
	endpoint, asked := lookOn(t, *client.Options().BaseEndpoint, func(r *http.Request) bool {
		what := r.Header.Get("X-Amz-Target")
		return strings.HasSuffix(what, ".GetItem") || strings.HasSuffix(what, ".PutItem")
	})
	if err := dynamolock.Create(t.Context(), client, "locks"); err != nil {
		t.Fatal(err)
	}
	seen := dynamodb.New(client.Options(), func(o *dynamodb.Options) { o.BaseEndpoint = &endpoint })
	locker, err := dynamolock.New(seen, dynamolock.Options{Table: "locks", Key: "shared", Poll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	return sharedLock{"dynamodb", filepath.Join(t.TempDir(), "shared"), locker, parity.Options{
		"hoodie.write.lock.provider":               "org.apache.hudi.aws.transaction.lock.DynamoDBBasedLockProvider",
		"hoodie.write.lock.dynamodb.table":         "locks",
		"hoodie.write.lock.dynamodb.partition_key": "shared",
		"hoodie.write.lock.dynamodb.region":        "us-east-1",
		"hoodie.write.lock.dynamodb.endpoint_url":  endpoint,
		"hoodie.write.lock.wait_time_ms":           "60000",
	}, asked}
}

// storageLock is a file beside a table in a bucket.
func storageLock(t *testing.T) sharedLock {
	t.Helper()
	server := s3test.Start(t)
	endpoint, asked := lookOn(t, server.URL, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/table_lock.json") })
	path := strings.Replace(server.Bucket(t), "?", "/shared?", 1)
	store, err := all.Open(t.Context(), strings.Replace(path, server.URL, endpoint, 1))
	if err != nil {
		t.Fatal(err)
	}
	return sharedLock{"storage", path, lock.NewStorage(store, lock.StorageOptions{Poll: 20 * time.Millisecond}), parity.Options{
		"hoodie.write.lock.provider": "org.apache.hudi.client.transaction.lock.StorageBasedLockProvider",
		"hoodie.test.s3.endpoint":    endpoint, "hoodie.test.s3.access": os.Getenv("AWS_ACCESS_KEY_ID"), "hoodie.test.s3.secret": os.Getenv("AWS_SECRET_ACCESS_KEY"),
	}, asked}
}

// lookOn stands before a server and counts the requests that count, by the library that makes them.
func lookOn(t *testing.T, server string, counts func(*http.Request) bool) (endpoint string, asked func(by string) int64) {
	t.Helper()
	target, err := url.Parse(server)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]*atomic.Int64{"aws-sdk-go": {}, "aws-sdk-java": {}}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(target)
		r.Out.Host = r.In.Host // the signature covers it
	}}
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for by, n := range n {
			if counts(r) && strings.HasPrefix(r.UserAgent(), by) {
				n.Add(1)
			}
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(p.Close)
	return p.URL, func(by string) int64 { return n[by].Load() }
}

// TestSparkLocks lets Hudi's lock providers and ours wait for each other: who asks again
// and again while the other holds the lock gets it when that gives it back, and not before.
func TestSparkLocks(t *testing.T) {
	for _, c := range []struct {
		release string
		lock    func(*testing.T) sharedLock
	}{{"1.2.0", dynamoLock}, {"0.15.0", dynamoLock}, {"1.2.0", storageLock}} {
		spark, l := parity.Spark(t, c.release), c.lock(t)
		t.Run(c.release+"/"+l.name, func(t *testing.T) { excludes(t, spark, l) })
	}
}

func excludes(t *testing.T, spark *parity.Engine, l sharedLock) {
	sharedTable(t, hudi.MergeOnRead, l)
	lease, err := l.locker.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type answer struct {
		taken bool
		err   error
	}
	theirs := make(chan answer, 1)
	go func() {
		taken, err := spark.TakeLock(t.Context(), l.path, l.sparks(hudi.MergeOnRead), 3*time.Minute)
		theirs <- answer{taken, err}
	}()
	waits(t, l, "aws-sdk-java", theirs)
	if err := lease.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a := <-theirs; a.err != nil || !a.taken {
		t.Fatalf("Spark, once we had given it back: %+v", a)
	}
	ours := make(chan error, 1)
	go func() {
		var err error
		lease, err = l.locker.Lock(t.Context())
		ours <- err
	}()
	waits(t, l, "aws-sdk-go", ours)
	if err := spark.ReleaseLock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-ours; err != nil {
		t.Fatalf("once Spark had given it back: %v", err)
	}
	if err := lease.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.isFree(t)
}

// waits sees that a library asks for the lock several times while another holds it, and does not get it.
func waits[T any](t *testing.T, l sharedLock, by string, got <-chan T) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for from := l.asked(by); l.asked(by) < from+4; {
		select {
		case a := <-got:
			t.Fatalf("%s has not waited for the lock that is held: %+v", by, a)
		case <-t.Context().Done():
			t.Fatalf("%s has asked for the lock %d times only", by, l.asked(by)-from)
		case <-tick.C:
		}
	}
}
