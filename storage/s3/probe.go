package s3

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// ErrConditions is a server that does not honour conditional writes. Two writers would
// not see each other there, and both would think that they had the timeline's next instant.
var ErrConditions = errors.New("the server does not honour conditional writes (If-None-Match, If-Match): two writers would overwrite each other; take a server that does (Amazon S3, MinIO, Ceph 19 and later, Cloudflare R2, versitygw)")

// probe is what is known of the server's conditions.
type probe struct {
	sync.Mutex
	done bool
	err  error // ErrConditions
}

// probe finds out, once, whether the server honours conditions: some accept and ignore
// them. It writes a small object and removes it. Stores that only read are never asked.
func (s *Store) probe(ctx context.Context) error {
	s.probed.Lock()
	defer s.probed.Unlock()
	if s.probed.done {
		return s.probed.err
	}
	err := s.try(ctx)
	if err == nil || errors.Is(err, ErrConditions) {
		s.probed.done, s.probed.err = true, err
	}
	return err
}

// otherETag is no object's.
const otherETag = `"00000000000000000000000000000000"`

func (s *Store) try(ctx context.Context) error {
	name := ".lakefeed-probe-" + rand.Text()
	key := s.key(name)
	defer func() { _ = s.Delete(context.WithoutCancel(ctx), name) }() // it harms nobody
	put := func(set func(in *s3.PutObjectInput)) (string, error) {
		in, data := s.newPut(key), []byte("lakefeed tries conditional writes; may be removed\n")
		set(in)
		return s.put(ctx, in, bytes.NewReader(data), int64(len(data)))
	}
	absent := func(in *s3.PutObjectInput) { in.IfNoneMatch = aws.String("*") }
	etag, err := put(absent)
	if status(err) == http.StatusPreconditionFailed { // an attempt before, whose answer was lost
		err = nil
	}
	if err == nil {
		_, err = put(absent)
		err = wantRefusal(err)
	}
	if err == nil {
		_, err = put(func(in *s3.PutObjectInput) { in.IfMatch = aws.String(otherETag) })
		err = wantRefusal(err)
	}
	if err == nil && etag != "" {
		_, err = put(func(in *s3.PutObjectInput) { in.IfMatch = &etag })
		if status(err) == http.StatusPreconditionFailed { // an attempt before, again
			err = nil
		}
	}
	switch status(err) {
	case http.StatusNotImplemented, http.StatusMethodNotAllowed:
		err = fmt.Errorf("%w (%s)", ErrConditions, err.Error())
	case http.StatusBadRequest:
		if c := code(err); c == "InvalidArgument" || c == "InvalidRequest" {
			err = fmt.Errorf("%w (%s)", ErrConditions, err.Error())
		}
	}
	if err != nil {
		return fmt.Errorf("try conditional writes on %s: %w", s, err)
	}
	return nil
}

// wantRefusal is nil where a condition that does not hold was refused.
func wantRefusal(err error) error {
	switch {
	case err == nil:
		return ErrConditions
	case status(err) == http.StatusPreconditionFailed:
		return nil
	}
	return err
}
