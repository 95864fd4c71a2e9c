package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"lakefeed/storage"
)

// Get implements [storage.Store].
func (s *Store) Get(ctx context.Context, name string) ([]byte, storage.Version, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, "", fmt.Errorf("read: %w", err)
	}
	var data []byte
	var version storage.Version
	err := s.get(ctx, &s3.GetObjectInput{Key: aws.String(s.key(name))}, func(out *s3.GetObjectOutput) (err error) {
		version = versionOf(aws.ToString(out.ETag), out.Metadata)
		data, err = io.ReadAll(out.Body)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return data, version, nil
}

// get asks for an object and hands its body to read. Where the body breaks off, it asks
// again, for what in says then.
func (s *Store) get(ctx context.Context, in *s3.GetObjectInput, read func(*s3.GetObjectOutput) error) error {
	ctx, cancel := within(ctx)
	defer cancel()
	in.Bucket = &s.opts.Bucket
	for try := range maxAttempts {
		out, err := s.client.GetObject(ctx, in)
		if err != nil {
			return s.failed(ctx, "GetObject", *in.Key, err)
		}
		err = read(out)
		_ = out.Body.Close() // it was read, or is given up
		if err == nil {
			return nil
		}
		if try == maxAttempts-1 || s.pause(ctx, try) != nil {
			return s.failed(ctx, "GetObject", *in.Key, fmt.Errorf("read the answer: %w", err))
		}
	}
	return nil // not reached: the last try returns
}

// pause waits between tries, longer each time.
func (s *Store) pause(ctx context.Context, try int) error {
	select {
	case <-time.After(min(100*time.Millisecond<<try, s.backoff)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Put implements [storage.Store].
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	_, err := s.put(ctx, s.newPut(s.key(name)), bytes.NewReader(data), int64(len(data)))
	return err
}

// PutIfAbsent implements [storage.Store].
func (s *Store) PutIfAbsent(ctx context.Context, name string, data []byte) error {
	in, err := s.conditional(ctx, name)
	if err != nil {
		return err
	}
	in.IfNoneMatch = aws.String("*")
	_, err = s.putIf(ctx, in, data)
	if status(err) == http.StatusPreconditionFailed {
		return fmt.Errorf("write %s: %w", name, storage.ErrExist)
	}
	return err
}

// PutIfMatch implements [storage.Store].
func (s *Store) PutIfMatch(ctx context.Context, name string, data []byte, v storage.Version) (storage.Version, error) {
	in, err := s.conditional(ctx, name)
	if err != nil {
		return "", err
	}
	etag, past, _ := strings.Cut(string(v), " ")
	if etag == "" { // no object's; an empty condition would be none
		return "", fmt.Errorf("write %s: %w", name, storage.ErrConflict)
	}
	in.IfMatch = &etag
	if past != "" {
		in.Metadata[pastKey] = past
	}
	etag, err = s.putIf(ctx, in, data)
	if c := status(err); c == http.StatusPreconditionFailed || c == http.StatusNotFound && code(err) != "NoSuchBucket" {
		return "", fmt.Errorf("write %s: %w", name, storage.ErrConflict)
	}
	if err != nil {
		return "", err
	}
	return versionOf(etag, in.Metadata), nil
}

// conditional begins a conditional put, once it is known that the server honours conditions.
func (s *Store) conditional(ctx context.Context, name string) (*s3.PutObjectInput, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("write: %w", err)
	}
	if err := s.probe(ctx); err != nil {
		return nil, err
	}
	return s.newPut(s.key(name)), nil
}

// The metadata by which a put knows its object again: its nonce, and those of the puts
// that the object's latest versions came from, the newest first.
const (
	nonceKey = "lakefeed-put"
	pastKey  = "lakefeed-past"
	pastKept = 8
)

// versionOf is the version of an object: its ETag, and for the next put its nonces.
func versionOf(etag string, metadata map[string]string) storage.Version {
	nonces := strings.Fields(metadata[nonceKey] + " " + metadata[pastKey])
	return storage.Version(strings.Join(append([]string{etag}, nonces[:min(len(nonces), pastKept)]...), " "))
}

func (s *Store) newPut(key string) *s3.PutObjectInput {
	in := &s3.PutObjectInput{
		Bucket: &s.opts.Bucket, Key: &key,
		Metadata:             map[string]string{nonceKey: rand.Text()},
		ServerSideEncryption: types.ServerSideEncryption(s.opts.SSE),
	}
	if s.opts.KMSKey != "" {
		in.SSEKMSKeyId = &s.opts.KMSKey
	}
	return in
}

func (s *Store) put(ctx context.Context, in *s3.PutObjectInput, body io.ReadSeeker, size int64) (etag string, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	in.Body, in.ContentLength = body, &size
	out, err := s.client.PutObject(ctx, in)
	if err != nil {
		return "", s.failed(ctx, "PutObject", *in.Key, err)
	}
	return aws.ToString(out.ETag), nil
}

// putIf makes a conditional put. Where an attempt's answer is lost, the next one meets
// its own object and fails: then the object says whose it is. ETag "gone" is that of a put
// that was made, and replaced by another writer before its answer could be had.
func (s *Store) putIf(ctx context.Context, in *s3.PutObjectInput, data []byte) (etag string, err error) {
	var attempts storage.Requests
	etag, err = s.put(storage.CountRequests(ctx, &attempts), in, bytes.NewReader(data), int64(len(data)))
	refused := status(err) >= 400 && status(err) < 500
	if err == nil || ctx.Err() != nil || refused && attempts.Total() == 1 {
		return etag, err
	}
	out, lookErr := s.head(ctx, *in.Key)
	switch {
	case errors.Is(lookErr, storage.ErrNotExist):
		return "", err
	case lookErr != nil && refused:
		return "", lookErr // whether it was made stays unknown
	case lookErr != nil:
		return "", err
	case out.Metadata[nonceKey] == in.Metadata[nonceKey]:
		return aws.ToString(out.ETag), nil
	case slices.Contains(strings.Fields(out.Metadata[pastKey]), in.Metadata[nonceKey]):
		return "gone", nil
	}
	return "", err
}

func (s *Store) head(ctx context.Context, key string) (*s3.HeadObjectOutput, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.opts.Bucket, Key: &key})
	if err != nil {
		return nil, s.failed(ctx, "HeadObject", key, err)
	}
	return out, nil
}
