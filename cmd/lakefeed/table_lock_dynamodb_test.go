package main

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/lock/dynamolock"
	"lakefeed/internal/dynamotest"
	"lakefeed/storage"
)

// dynamoLocked is a table whose writers lock in DynamoDB, and what looks at the lock.
type dynamoLocked struct {
	*lockedTable
	env    []string // of a process that reaches it
	looked chan struct{}
}

const dynamoLockKey = "shop/orders"

func newDynamoLocked(t *testing.T) (*dynamoLocked, lock.Locker) {
	t.Helper()
	client := dynamotest.Start(t)
	if err := dynamolock.Create(t.Context(), client, "locks"); err != nil {
		t.Fatal(err)
	}
	locker, err := dynamolock.New(client, dynamolock.Options{Table: "locks", Key: dynamoLockKey, Poll: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	l := &dynamoLocked{newLockedTable(t, func(storage.Store) lock.Locker { return locker }), nil, make(chan struct{}, 1000)}
	l.env = append(os.Environ(), "AWS_REGION=us-east-1", "AWS_ACCESS_KEY_ID=test", "AWS_SECRET_ACCESS_KEY=test",
		"AWS_ENDPOINT_URL_DYNAMODB="+l.proxy(client))
	return l, locker
}

// proxy notes each look at an item.
func (l *dynamoLocked) proxy(client *dynamodb.Client) string {
	target, err := url.Parse(*client.Options().BaseEndpoint)
	if err != nil {
		l.t.Fatal(err)
	}
	forward := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
	p := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.Header.Get("X-Amz-Target"), ".GetItem") {
			l.looked <- struct{}{}
		}
		forward.ServeHTTP(w, r)
	}))
	l.t.Cleanup(p.Close)
	return p.URL
}

// command is a verb in a process of its own.
func (l *dynamoLocked) command(verb string, flags ...string) (*exec.Cmd, *bytes.Buffer) {
	var out bytes.Buffer
	cmd := exec.CommandContext(l.t.Context(), "lakefeed", append([]string{"table", verb, l.dir}, flags...)...)
	cmd.Env, cmd.Stdout, cmd.Stderr = l.env, &out, &out
	return cmd, &out
}

// exits calls a verb and returns its exit code.
func (l *dynamoLocked) exits(verb string, flags ...string) (code int, text string) {
	l.t.Helper()
	cmd, out := l.command(verb, flags...)
	err := cmd.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		l.t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String()
}

// TestVerbsLockInDynamoDB calls the verbs that change a table whose writers lock in DynamoDB:
// beside a transaction, while another holds the lock, and with what the properties say.
func TestVerbsLockInDynamoDB(t *testing.T) {
	t.Parallel()
	l, locker := newDynamoLocked(t)
	const flag = "dynamodb:locks/" + dynamoLockKey
	x := l.begin()
	for _, verb := range changingVerbs {
		if code, text := l.exits(verb, "--lock", flag); code != 0 {
			t.Errorf("%s with the table's lock: exit code %d: %s", verb, code, text)
		}
	}
	if _, err := x.Commit(t.Context(), nil); err != nil {
		t.Errorf("the writer's transaction: %v", err)
	}

	const properties = ".hoodie/hoodie.properties"
	text, _, err := l.store.Get(t.Context(), properties)
	if err != nil {
		t.Fatal(err)
	}
	say := func(more string) {
		if err := l.store.Put(t.Context(), properties, append(bytes.Clone(text), more...)); err != nil {
			t.Fatal(err)
		}
	}
	const provider = "hoodie.write.lock.provider=org.apache.hudi.aws.transaction.lock.DynamoDBBased"
	const table, key = "hoodie.write.lock.dynamodb.table=locks\n", "hoodie.write.lock.dynamodb.partition_key=" + dynamoLockKey + "\n"
	say(provider + "LockProvider\n" + table + key)
	l.waits(locker)
	say("")
	l.waits(locker, "--lock", flag)

	for _, c := range []struct {
		properties, flag, want string
		code                   int
	}{
		{provider + "LockProvider\n", "auto", "name the lock by --lock dynamodb:TABLE/KEY", 2},
		{provider + "ImplicitPartitionKeyLockProvider\n" + table, "auto", "name their lock by --lock dynamodb:TABLE/KEY", 2},
		{"", "dynamodb", "name the lock by --lock dynamodb:TABLE/KEY", 2},
		{"", "dynamodb:locks", "want dynamodb:TABLE/KEY", 2},
		{"", "dynamodb:/k", "want dynamodb:TABLE/KEY", 2},
		{"", "dynamodb:", "dynamodb:TABLE/KEY or none", 2},
		{"", "file:x", "dynamodb:TABLE/KEY or none", 2},
		{"", "dynamodb:none/k", "lock dynamodb:none/k", 4},
		{provider + "LockProvider\n" + table, "auto", "savepoint", 0}, // the key is the table's name
	} {
		say(c.properties)
		if code, text := l.exits("savepoint", "--lock", c.flag); code != c.code || !strings.Contains(text, c.want) {
			t.Errorf("%q, --lock %s: exit code %d: %s, want %d: %s", c.properties, c.flag, code, text, c.code, c.want)
		}
	}
}

// waits sees a verb ask for the lock that another holds, and go on when that gives it back.
func (l *dynamoLocked) waits(locker lock.Locker, flags ...string) {
	l.t.Helper()
	l.upsert("b") // or there is nothing to do
	lease, err := locker.Lock(l.t.Context())
	if err != nil {
		l.t.Fatal(err)
	}
	for len(l.looked) > 0 {
		<-l.looked
	}
	cmd, out := l.command("savepoint", flags...)
	if err := cmd.Start(); err != nil {
		l.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for range 2 { // one that took it at the first look would look no second time
		select {
		case <-l.looked:
		case err := <-ended:
			l.t.Fatalf("%v: it did not wait: %v: %s", flags, err, out)
		}
	}
	if err := lease.Unlock(l.t.Context()); err != nil {
		l.t.Fatal(err)
	}
	if err := <-ended; err != nil {
		l.t.Errorf("%v: %v: %s", flags, err, out)
	}
}
