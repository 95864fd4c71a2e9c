package s3

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"lakefeed/storage"
)

// pages are the pages of a listing below a prefix; with a delimiter what lies in folders
// comes as their prefixes.
func (s *Store) pages(ctx context.Context, prefix, delimiter string) iter.Seq2[*s3.ListObjectsV2Output, error] {
	return func(yield func(*s3.ListObjectsV2Output, error) bool) {
		in := &s3.ListObjectsV2Input{Bucket: &s.opts.Bucket, Prefix: &prefix}
		if delimiter != "" {
			in.Delimiter = &delimiter
		}
		for {
			page, err := s.page(ctx, in)
			if !yield(page, err) || err != nil {
				return
			}
			if !aws.ToBool(page.IsTruncated) || page.NextContinuationToken == nil {
				return
			}
			in.ContinuationToken = page.NextContinuationToken
		}
	}
}

func (s *Store) page(ctx context.Context, in *s3.ListObjectsV2Input) (*s3.ListObjectsV2Output, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	page, err := s.client.ListObjectsV2(ctx, in)
	if err != nil {
		return nil, s.failed(ctx, "ListObjectsV2", *in.Prefix, err)
	}
	return page, nil
}

// List implements [storage.Store]. Objects whose keys are no names of a store, as the
// folders that consoles make, are left out.
func (s *Store) List(ctx context.Context, folder string, recursive bool) iter.Seq2[storage.Info, error] {
	return func(yield func(storage.Info, error) bool) {
		if err := storage.CheckFolder(folder); err != nil {
			yield(storage.Info{}, fmt.Errorf("list: %w", err))
			return
		}
		delimiter := "/"
		if recursive {
			delimiter = ""
		}
		for page, err := range s.pages(ctx, s.prefix(folder), delimiter) {
			if err != nil {
				yield(storage.Info{}, err)
				return
			}
			for _, o := range page.Contents {
				name := strings.TrimPrefix(aws.ToString(o.Key), s.prefix(""))
				if storage.CheckName(name) != nil {
					continue
				}
				if !yield(storage.Info{Name: name, Size: aws.ToInt64(o.Size), ModTime: aws.ToTime(o.LastModified)}, nil) {
					return
				}
			}
		}
	}
}

// Dirs implements [storage.Store].
func (s *Store) Dirs(ctx context.Context, folder string) ([]string, error) {
	if err := storage.CheckFolder(folder); err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	var dirs []string
	for page, err := range s.pages(ctx, s.prefix(folder), "/") {
		if err != nil {
			return nil, err
		}
		for _, p := range page.CommonPrefixes {
			dir := strings.TrimSuffix(strings.TrimPrefix(aws.ToString(p.Prefix), s.prefix(folder)), "/")
			if storage.CheckName(dir) == nil {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return dirs, nil
}

// Delete implements [storage.Store].
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := storage.CheckName(name); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	return s.delete(ctx, s.key(name))
}

func (s *Store) delete(ctx context.Context, key string) error {
	ctx, cancel := within(ctx)
	defer cancel()
	_, err := s.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &s.opts.Bucket, Key: &key})
	if err == nil {
		return nil
	}
	if err = s.failed(ctx, "DeleteObject", key, err); errors.Is(err, storage.ErrNotExist) {
		return nil
	}
	return err
}

// DeleteAll implements [storage.Store], a page of the listing at a time. The folder "" is
// the store's own, never the bucket around it.
func (s *Store) DeleteAll(ctx context.Context, folder string) error {
	if err := storage.CheckFolder(folder); err != nil {
		return fmt.Errorf("remove: %w", err)
	}
	for page, err := range s.pages(ctx, s.prefix(folder), "") {
		if err != nil {
			return err
		}
		if err := s.deleteEach(ctx, page.Contents); err != nil {
			return err
		}
	}
	return nil
}

// deleteEach removes the objects of a page, 1000 at most, in one request.
func (s *Store) deleteEach(ctx context.Context, objects []types.Object) error {
	switch len(objects) {
	case 0:
		return nil
	case 1:
		return s.delete(ctx, aws.ToString(objects[0].Key))
	}
	ctx, cancel := within(ctx)
	defer cancel()
	ids := make([]types.ObjectIdentifier, len(objects))
	for i, o := range objects {
		ids[i].Key = o.Key
	}
	out, err := s.client.DeleteObjects(ctx, &s3.DeleteObjectsInput{
		Bucket: &s.opts.Bucket, Delete: &types.Delete{Objects: ids, Quiet: aws.Bool(true)},
	})
	if err != nil {
		return s.failed(ctx, "DeleteObjects", aws.ToString(ids[0].Key), err)
	}
	for _, e := range out.Errors {
		if c := aws.ToString(e.Code); c != "NoSuchKey" {
			failed := &Error{
				Op: "DeleteObjects", Object: "s3://" + s.opts.Bucket + "/" + aws.ToString(e.Key), Status: 200,
				Code: c, Message: aws.ToString(e.Message),
			}
			if c == "AccessDenied" {
				failed.Status = 403
			}
			failed.WayOut = s.wayOut(failed, "")
			return failed
		}
	}
	return nil
}
