package s3

import (
	"context"
	"io"

	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"lakefeed/storage"
)

// countRequests counts each attempt of a request, where the answer is read.
func (s *Store) countRequests(stack *middleware.Stack) error {
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("LakefeedCount",
		func(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (middleware.DeserializeOutput, middleware.Metadata, error) {
			c := storage.RequestCount{Requests: 1}
			if req, ok := in.Request.(*smithyhttp.Request); ok && req.ContentLength > 0 {
				c.Sent = req.ContentLength
			}
			out, meta, err := next.HandleDeserialize(ctx, in)
			resp, answered := out.RawResponse.(*smithyhttp.Response)
			if err != nil || !answered || resp.StatusCode >= 400 {
				c.Failed = 1
			}
			op := awsmiddleware.GetOperationName(ctx)
			s.add(ctx, op, c)
			if answered && resp.Body != nil {
				resp.Body = &countedBody{resp.Body, func(n int64) { s.add(ctx, op, storage.RequestCount{Received: n}) }}
			}
			return out, meta, err
		}), middleware.After)
}

func (s *Store) add(ctx context.Context, op string, c storage.RequestCount) {
	s.requests.Add(op, c)
	storage.CountRequest(ctx, op, c)
}

// countedBody counts what is read of an answer.
type countedBody struct {
	io.ReadCloser
	count func(n int64)
}

func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.count(int64(n))
	}
	return n, err
}
