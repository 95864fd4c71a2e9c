// Package dynamotest starts DynamoDB Local for tests. scripts/install-dynamodb.sh, a
// part of `make setup`, installs it.
package dynamotest

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"lakefeed/internal/ci"
	"lakefeed/internal/pgserver"
)

// Start is a client of an empty DynamoDB of its own, on a free port of the loopback.
// It ends with the test. Without DynamoDB Local the test is skipped; where CI is set it
// fails.
func Start(t testing.TB) *dynamodb.Client {
	t.Helper()
	cache := pgserver.CacheDir()
	java, lib := filepath.Join(cache, "interop", "java", "bin", "java"), filepath.Join(cache, "dynamodb", "lib")
	for _, name := range []string{java, lib} {
		if _, err := os.Stat(name); err != nil {
			ci.Missing(t, "DynamoDB Local: %v: run make setup", err)
		}
	}
	var err error
	for range 3 { // the port may be taken meanwhile
		var addr string
		if addr, err = start(t, java, lib); err == nil {
			return client(addr)
		}
	}
	t.Fatalf("start DynamoDB Local: %v", err)
	return nil
}

func client(addr string) *dynamodb.Client {
	return dynamodb.New(dynamodb.Options{
		BaseEndpoint: aws.String("http://" + addr),
		Region:       "us-east-1",
		Credentials:  credentials.NewStaticCredentialsProvider("test", "test", ""),
	})
}

// start starts the server; it ends with its standard input, so also when the test's
// process is killed.
func start(t testing.TB, java, lib string) (addr string, err error) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(addr)
	_ = l.Close()
	const untilStdinEnds = `"$@" </dev/null & read -r _; kill $!; wait`
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "sh", "-c", untilStdinEnds, "sh",
		java, "-Xmx256m", "-XX:TieredStopAtLevel=1", "-Djava.library.path="+lib, "-cp", filepath.Join(lib, "*"),
		"software.amazon.dynamodb.services.local.main.ServerRunner",
		"-inMemory", "-disableTelemetry", "-port", port)
	cmd.Dir = t.TempDir()
	out := new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, out
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return "", fmt.Errorf("run %s: %w", java, err)
	}
	stop := func() {
		_ = stdin.Close()
		_ = cmd.Wait() // it was killed
	}
	if err := await(t.Context(), addr); err != nil {
		stop()
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	t.Cleanup(stop)
	return addr, nil
}

// await waits until the server answers.
func await(ctx context.Context, addr string) error {
	ctx, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	for {
		_, err := client(addr).ListTables(ctx, nil)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it does not answer: %w", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
