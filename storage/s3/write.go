package s3

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"lakefeed/storage"
)

// Create implements [storage.Store]. A file of less than a part is one request; a larger
// one is a multipart upload, whose parts are sent while the file is written.
func (s *Store) Create(ctx context.Context, name string) (storage.Writer, error) {
	if err := storage.CheckName(name); err != nil {
		return nil, fmt.Errorf("create: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	return &writer{s: s, ctx: ctx, cancel: cancel, put: s.newPut(s.key(name)), part: &part{s: s}, number: 1}, nil
}

// writer is used by one goroutine; the parts that it sent have goroutines of their own.
type writer struct {
	s      *Store
	ctx    context.Context // the caller's, until the writer ends: an io.Writer is given none
	cancel context.CancelFunc
	put    *s3.PutObjectInput // what the object is to be

	part   *part // that is being filled
	number int32 // its number, from 1
	upload string
	wg     sync.WaitGroup

	mu   sync.Mutex // guards what follows
	sent []types.CompletedPart
	err  error // the first
	done bool
}

// Write implements [storage.Writer].
func (w *writer) Write(b []byte) (int, error) {
	n := 0
	for n < len(b) {
		if err := w.failure(); err != nil {
			return n, err
		}
		room := w.s.sizeOf(w.number) - w.part.size
		if room == 0 {
			if err := w.send(); err != nil {
				return n, w.fail(err)
			}
			continue
		}
		m, err := w.part.Write(b[n:min(len(b), n+int(min(room, 1<<20)))])
		n += m
		if err != nil {
			return n, w.fail(err)
		}
	}
	return n, nil
}

func (w *writer) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done {
		return fmt.Errorf("write s3://%s/%s: it was committed or aborted before", w.s.opts.Bucket, *w.put.Key)
	}
	return w.err
}

// fail keeps the first error, and ends what is under way.
func (w *writer) fail(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
		w.cancel()
	}
	return w.err
}

// send begins to send the full part, and waits where others of the store keep the line busy.
func (w *writer) send() error {
	if w.upload == "" {
		if err := w.start(); err != nil {
			return err
		}
	}
	if err := w.s.uploads.Acquire(w.ctx, 1); err != nil {
		return w.s.failed(w.ctx, "UploadPart", *w.put.Key, err)
	}
	full, number := w.part, w.number
	w.part, w.number = &part{s: w.s}, w.number+1
	w.wg.Go(func() {
		defer w.s.uploads.Release(1)
		defer full.release()
		if err := w.sendPart(full, number); err != nil {
			_ = w.fail(err) // the next Write or Commit returns it
		}
	})
	return nil
}

func (w *writer) start() error {
	ctx, cancel := within(w.ctx)
	defer cancel()
	out, err := w.s.client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: w.put.Bucket, Key: w.put.Key, Metadata: w.put.Metadata,
		ServerSideEncryption: w.put.ServerSideEncryption, SSEKMSKeyId: w.put.SSEKMSKeyId,
	})
	if err != nil {
		return w.s.failed(ctx, "CreateMultipartUpload", *w.put.Key, err)
	}
	w.upload = aws.ToString(out.UploadId)
	return nil
}

func (w *writer) sendPart(p *part, number int32) error {
	ctx, cancel := within(w.ctx)
	defer cancel()
	out, err := w.s.client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: w.put.Bucket, Key: w.put.Key, UploadId: &w.upload,
		PartNumber: &number, Body: p.body(), ContentLength: &p.size,
	})
	if err != nil {
		return w.s.failed(ctx, "UploadPart", *w.put.Key, err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.sent = append(w.sent, types.CompletedPart{PartNumber: &number, ETag: out.ETag})
	return nil
}

// Commit implements [storage.Writer].
func (w *writer) Commit() error {
	err := w.failure()
	if err != nil {
		return err
	}
	if w.upload == "" {
		_, err = w.s.put(w.ctx, w.put, w.part.body(), w.part.size)
	} else {
		err = w.finish()
	}
	if err != nil {
		return w.fail(err)
	}
	w.end()
	return nil
}

// finish sends the last part and makes the upload an object.
func (w *writer) finish() error {
	if w.part.size > 0 {
		if err := w.send(); err != nil {
			return err
		}
	}
	w.wg.Wait()
	if err := w.failure(); err != nil {
		return err
	}
	slices.SortFunc(w.sent, func(a, b types.CompletedPart) int { return cmp.Compare(*a.PartNumber, *b.PartNumber) })
	ctx, cancel := within(w.ctx)
	defer cancel()
	_, err := w.s.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: w.put.Bucket, Key: w.put.Key, UploadId: &w.upload,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: w.sent},
	})
	if err == nil {
		return nil
	}
	err = w.s.failed(ctx, "CompleteMultipartUpload", *w.put.Key, err)
	// An attempt before may have completed it: then the upload is gone, and the object is ours.
	if out, lookErr := w.s.head(w.ctx, *w.put.Key); lookErr == nil && out.Metadata[nonceKey] == w.put.Metadata[nonceKey] {
		return nil
	}
	return err
}

// end lets go of what the writer holds.
func (w *writer) end() {
	w.cancel()
	w.wg.Wait()
	w.part.release()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.done = true
}

// Abort implements [storage.Writer]. Parts that were sent are removed; where that fails,
// the bucket's lifecycle rule for incomplete uploads removes them (docs/operations.md).
func (w *writer) Abort() error {
	w.mu.Lock()
	done := w.done
	w.mu.Unlock()
	if done {
		return nil
	}
	w.end()
	if w.upload == "" {
		return nil
	}
	const abortTime = 30 * time.Second
	ctx, cancel := context.WithTimeout(context.WithoutCancel(w.ctx), abortTime)
	defer cancel()
	_, err := w.s.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: w.put.Bucket, Key: w.put.Key, UploadId: &w.upload})
	if err == nil {
		return nil
	}
	err = w.s.failed(ctx, "AbortMultipartUpload", *w.put.Key, err)
	if code(err) == "NoSuchUpload" || errors.Is(err, storage.ErrNotExist) {
		return nil
	}
	return err
}
