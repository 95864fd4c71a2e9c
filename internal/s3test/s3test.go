// Package s3test gives tests an S3 server of their own, versitygw on a folder:
//
//	server := s3test.Start(t)
//	store, err := all.Open(ctx, server.Bucket(t))
//
// Its credentials are in the environment of the test binary, and so of what it starts.
// A [Proxy] before the server loses answers, throttles and looks on.
package s3test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
)

// The server's only account.
const (
	AccessKey = "lakefeed-test"
	SecretKey = "lakefeed-test-secret" //nolint:gosec // of a server that ends with the test
	Region    = "us-east-1"
)

// Environment makes this account the one that the AWS libraries find, and hides those
// of whoever runs the tests.
var Environment = sync.OnceFunc(func() {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": AccessKey, "AWS_SECRET_ACCESS_KEY": SecretKey, "AWS_REGION": Region,
		"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		_ = os.Setenv(name, value) // fails for names with = only
	}
	for _, name := range []string{"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ROLE_ARN"} {
		_ = os.Unsetenv(name)
	}
})

// Server is an S3 server that ends with its test.
type Server struct {
	URL string // http://127.0.0.1:port

	client *s3.Client
}

// buckets numbers the buckets of all servers of a process: Spark keeps a client for each
// name, and with it the address of the server that it first found there.
var buckets atomic.Int64

// Start runs a server. Where it is not installed the test is skipped, or fails where the
// variable CI is set.
func Start(t testing.TB) *Server {
	t.Helper()
	Environment()
	program := filepath.Join(pgserver.CacheDir(), "bin", "versitygw")
	if _, err := os.Stat(program); err != nil {
		ci.Missing(t, "no S3 server: run scripts/install-s3.sh (%v)", err)
	}
	var err error
	for range 3 { // another process may take the port that was free
		var url string
		if url, err = launch(t, program); err == nil {
			return &Server{URL: url, client: newClient(url)}
		}
	}
	t.Fatal(err)
	return nil
}

func newClient(url string) *s3.Client {
	return s3.New(s3.Options{
		BaseEndpoint: &url, Region: Region, UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(AccessKey, SecretKey, ""),
	})
}

// Client is a client of the server, for what a store does not do.
func (s *Server) Client() *s3.Client { return s.client }

// Bucket makes a bucket and returns its URL, as storage/all takes it.
func (s *Server) Bucket(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("bucket-%d", buckets.Add(1))
	if _, err := s.client.CreateBucket(context.Background(), &s3.CreateBucketInput{Bucket: aws.String(name)}); err != nil {
		t.Fatal(err)
	}
	return URL(name, s.URL)
}

// URL is a bucket's URL on the server at endpoint.
func URL(bucket, endpoint string) string { return "s3://" + bucket + "?endpoint=" + endpoint }

func launch(t testing.TB, program string) (url string, err error) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr := l.Addr().String()
	if err := l.Close(); err != nil {
		return "", err
	}
	dir := t.TempDir()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program, "--port", addr, "--quiet", "--keep-alive", "posix", dir)
	cmd.Env = []string{"ROOT_ACCESS_KEY=" + AccessKey, "ROOT_SECRET_KEY=" + SecretKey, "VGW_REGION=" + Region}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	dieWithParent(cmd)
	started, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread() // the server dies with this thread, which has to last
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed below
		}
		close(ended)
	}()
	if err := <-started; err != nil {
		return "", err
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	if err := await("http://"+addr, ended); err != nil {
		return "", fmt.Errorf("start %s: %w\n%s", program, err, strings.TrimSpace(out.String()))
	}
	return "http://" + addr, nil
}

// await waits until a server answers, whatever it says.
func await(url string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := http.DefaultClient.Do(req)
		if err == nil {
			return resp.Body.Close()
		}
		select {
		case <-ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}
