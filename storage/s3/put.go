package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
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
	etag := ""
	err := s.get(ctx, &s3.GetObjectInput{Key: aws.String(s.key(name))}, func(out *s3.GetObjectOutput) (err error) {
		etag = aws.ToString(out.ETag)
		data, err = io.ReadAll(out.Body)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	return data, storage.Version(etag), nil
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
		if try == maxAttempts-1 || pause(ctx, try) != nil {
			return s.failed(ctx, "GetObject", *in.Key, fmt.Errorf("read the answer: %w", err))
		}
	}
	return nil // not reached: the last try returns
}

// pause waits between tries, longer each time.
func pause(ctx context.Context, try int) error {
	select {
	case <-time.After(min(100*time.Millisecond<<try, maxBackoff)):
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
	if v == "" { // no object's; an empty condition would be none
		return "", fmt.Errorf("write %s: %w", name, storage.ErrConflict)
	}
	in.IfMatch = aws.String(string(v))
	etag, err := s.putIf(ctx, in, data)
	if c := status(err); c == http.StatusPreconditionFailed || c == http.StatusNotFound && code(err) != "NoSuchBucket" {
		return "", fmt.Errorf("write %s: %w", name, storage.ErrConflict)
	}
	return storage.Version(etag), err
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

// nonceKey is the metadata by which a put knows its object again.
const nonceKey = "lakefeed-put"

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
// its own object and fails: so after any failure the object says whose it is.
func (s *Store) putIf(ctx context.Context, in *s3.PutObjectInput, data []byte) (etag string, err error) {
	for try := range maxAttempts {
		etag, err = s.put(ctx, in, bytes.NewReader(data), int64(len(data)))
		if err == nil || ctx.Err() != nil || !doubtful(status(err)) {
			return etag, err
		}
		ours, lookErr := s.written(ctx, *in.Key, in.Metadata[nonceKey])
		if ours != "" {
			return ours, nil
		}
		if status(err) == http.StatusPreconditionFailed && lookErr != nil {
			return "", lookErr // whose it is stays unknown
		}
		// Another write of that object was under way: this one is to be made again.
		if status(err) != http.StatusConflict || try == maxAttempts-1 || pause(ctx, try) != nil {
			return "", err
		}
	}
	return "", err
}

// doubtful reports whether a put that failed may have been made, by this attempt or one before.
func doubtful(status int) bool {
	return status < 400 || status >= 500 || status == http.StatusPreconditionFailed || status == http.StatusConflict
}

// written is the ETag of an object if it is the one that was put with nonce.
func (s *Store) written(ctx context.Context, key, nonce string) (etag string, err error) {
	ctx, cancel := within(ctx)
	defer cancel()
	out, err := s.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &s.opts.Bucket, Key: &key})
	if err != nil {
		if err = s.failed(ctx, "HeadObject", key, err); errors.Is(err, storage.ErrNotExist) {
			return "", nil
		}
		return "", err
	}
	if out.Metadata[nonceKey] != nonce {
		return "", nil
	}
	return aws.ToString(out.ETag), nil
}
