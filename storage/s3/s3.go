// Package s3 is a store in a bucket of Amazon S3, or of a server that speaks its
// protocol and honours conditional writes (If-None-Match, If-Match).
//
//	o, err := s3.ParseURL("s3://bucket/lake?region=eu-central-1")
//	store, err := s3.Open(ctx, o)
//
// Credentials come from where the AWS tools take them: the environment, profiles, web
// identity, the container or the machine; with [Options].RoleARN a role is assumed.
//
// # How the promises of a Store are kept
//
//   - A name appears whole: PutObject, or a multipart upload that is completed at
//     Commit and aborted otherwise (write.go, part.go).
//   - PutIfAbsent and PutIfMatch are conditional requests; a [storage.Version] has an
//     ETag. Each carries a nonce in the object's metadata, so that a put whose answer
//     was lost is told from another writer's by reading back (put.go). Before the first
//     one the store tries whether the server honours conditions, or only says so (probe.go).
//   - Readers see one version of an object or an error (read.go).
//   - Each call has a budget of attempts and of time; throttling is backed off.
//
// Files: s3.go, url.go, put.go, write.go, part.go, read.go, list.go, probe.go,
// errors.go, count.go.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/ratelimit"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
	"golang.org/x/sync/semaphore"

	"lakefeed/storage"
)

// What a call may take, and what a store may hold.
const (
	maxAttempts    = 10               // of a request
	maxBackoff     = 20 * time.Second // between two of them
	callTime       = 3 * time.Minute  // for all attempts of a request, of a part for each part
	answerTime     = 30 * time.Second // from a request's last byte to the answer's first
	maxConnections = 64

	partMemory  = 64 << 20 // in all parts that wait to be sent; beyond it they go to local disk
	partsAtOnce = 8        // uploads at the same time
)

// Store is a [storage.Store] in a bucket.
type Store struct {
	opts     Options
	client   *s3.Client
	requests storage.Requests
	probed   probe
	memory   *semaphore.Weighted // bytes of parts
	uploads  *semaphore.Weighted
	partSize int64         // of the first parts
	backoff  time.Duration // the longest pause between two attempts
}

// Open makes ready a store. It asks nothing of the server yet.
func Open(ctx context.Context, o Options) (*Store, error) { return open(ctx, o, maxBackoff) }

func open(ctx context.Context, o Options, backoff time.Duration) (*Store, error) {
	if err := o.Validate(); err != nil {
		return nil, fmt.Errorf("open s3 store: %w", err)
	}
	s := &Store{
		opts: o, partSize: firstPart, backoff: backoff,
		memory: semaphore.NewWeighted(partMemory), uploads: semaphore.NewWeighted(partsAtOnce),
	}
	cfg, err := s.config(ctx)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", s, err)
	}
	s.client = s3.NewFromConfig(cfg, func(c *s3.Options) { c.UsePathStyle = o.PathStyle })
	return s, nil
}

func (s *Store) config(ctx context.Context) (aws.Config, error) {
	o := s.opts
	cfg, err := config.LoadDefaultConfig(ctx,
		config.WithRegion(o.Region),
		config.WithSharedConfigProfile(o.Profile),
		config.WithRetryer(func() aws.Retryer { return newRetryer(s.backoff) }),
		config.WithHTTPClient(newHTTPClient()),
		config.WithLogger(logging.Nop{}),
		// Signatures cover the bodies, and servers other than AWS lack the newer checksums.
		config.WithRequestChecksumCalculation(aws.RequestChecksumCalculationWhenRequired),
		config.WithResponseChecksumValidation(aws.ResponseChecksumValidationWhenRequired),
	)
	if err != nil {
		return cfg, fmt.Errorf("read the AWS configuration: %w", err)
	}
	plain := cfg // for STS: the endpoint speaks S3
	if o.Endpoint != "" {
		cfg.BaseEndpoint = &o.Endpoint
	}
	if cfg.Region == "" && cfg.BaseEndpoint != nil {
		cfg.Region = "us-east-1"
	}
	if cfg.Region == "" {
		return cfg, errors.New("no region: add ?region=... to the URL, or set AWS_REGION")
	}
	if o.RoleARN != "" {
		plain.Region = cfg.Region
		cfg.Credentials = aws.NewCredentialsCache(stscreds.NewAssumeRoleProvider(sts.NewFromConfig(plain), o.RoleARN,
			func(a *stscreds.AssumeRoleOptions) {
				a.RoleSessionName = "lakefeed"
				if o.ExternalID != "" {
					a.ExternalID = &o.ExternalID
				}
			}))
	}
	cfg.APIOptions = append(cfg.APIOptions, s.countRequests)
	return cfg, nil
}

// newRetryer repeats what may pass: no answer, one that breaks off or makes no sense, 5xx,
// throttling (503 SlowDown), another write of the object that is under way (409), with a
// growing random pause.
func newRetryer(backoff time.Duration) aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.MaxAttempts, o.MaxBackoff = maxAttempts, backoff
		o.RateLimiter = ratelimit.None // the budget is each call's, not all calls' together
		o.Retryables = append(o.Retryables, retry.RetryableHTTPStatusCode{Codes: map[int]struct{}{http.StatusConflict: {}}}, retry.IsErrorRetryableFunc(unreadable))
	})
}

func unreadable(err error) aws.Ternary {
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		return aws.TrueTernary
	}
	return aws.UnknownTernary
}

func newHTTPClient() *awshttp.BuildableClient {
	return awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
		t.MaxIdleConns, t.MaxIdleConnsPerHost = maxConnections, maxConnections
		t.ResponseHeaderTimeout = answerTime
	})
}

// key is the object that a name is.
func (s *Store) key(name string) string {
	if s.opts.Prefix == "" {
		return name
	}
	return s.opts.Prefix + "/" + name
}

// prefix is that of the objects in a folder.
func (s *Store) prefix(folder string) string {
	switch {
	case folder != "":
		return s.key(folder) + "/"
	case s.opts.Prefix != "":
		return s.opts.Prefix + "/"
	}
	return ""
}

// String implements [storage.Store].
func (s *Store) String() string {
	return strings.TrimSuffix("s3://"+s.opts.Bucket+"/"+s.opts.Prefix, "/")
}

// ModTimeStep is that of [storage.ModTimeStep]: whole seconds.
func (s *Store) ModTimeStep() time.Duration { return time.Second }

// ListsFlat is that of [storage.ListsFlat]: a request lists 1,000 objects.
func (s *Store) ListsFlat() bool { return true }

// Requests is what this store has asked of the server.
func (s *Store) Requests() *storage.Requests { return &s.requests }

// within is a context for one request and its repetitions.
func within(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, callTime, errBudget)
}

var errBudget = fmt.Errorf("no success within %v", callTime)
