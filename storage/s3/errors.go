package s3

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"lakefeed/storage"
)

// Error is what the server, or the way to it, answered.
type Error struct {
	Op        string // S3's name of the operation: GetObject
	Object    string // s3://bucket/key
	Status    int    // of HTTP; 0: there was no answer
	Code      string // S3's: AccessDenied; may be empty
	RequestID string // for the server's support; may be empty
	Message   string
	WayOut    string // what may help; may be empty

	cause error // of the context's end
}

// Error has all of it.
func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: ", e.Op, e.Object)
	if e.Status == 0 {
		b.WriteString(e.Message)
	} else {
		fmt.Fprintf(&b, "HTTP %d %s", e.Status, firstOf(e.Code, http.StatusText(e.Status)))
		if e.RequestID != "" {
			fmt.Fprintf(&b, " (request %s)", e.RequestID)
		}
		if e.Message != "" && e.Message != e.Code {
			b.WriteString(": " + e.Message)
		}
	}
	if e.WayOut != "" {
		b.WriteString("; " + e.WayOut)
	}
	return b.String()
}

// Unwrap is the context's end, where that was the cause.
func (e *Error) Unwrap() error { return e.cause }

// Is tells an object that is not there ([storage.ErrNotExist]) from all else: a bucket
// that is not there is another thing.
func (e *Error) Is(target error) bool {
	return (target == storage.ErrNotExist || target == fs.ErrNotExist) && e.missing()
}

func (e *Error) missing() bool {
	return e.Status == http.StatusNotFound && e.Code != "NoSuchBucket" && e.Code != "NoSuchUpload"
}

// Final reports whether somebody has to mend something before a later try can help.
func (e *Error) Final() bool {
	switch e.Status {
	case http.StatusForbidden, http.StatusMovedPermanently, http.StatusNotImplemented, http.StatusMethodNotAllowed:
		return true
	case http.StatusBadRequest:
		return !strings.Contains(e.Code, "Token") && e.Code != "RequestTimeout" // tokens are renewed
	case http.StatusNotFound:
		return e.Code == "NoSuchBucket"
	}
	return false
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// failed is the error of an operation on a key ("": on the bucket).
func (s *Store) failed(ctx context.Context, op, key string, err error) error {
	e := &Error{Op: op, Object: "s3://" + s.opts.Bucket + "/" + key, cause: ctx.Err()}
	region := ""
	if resp, ok := errors.AsType[*awshttp.ResponseError](err); ok && resp.Response != nil {
		e.Status, e.RequestID = resp.HTTPStatusCode(), resp.ServiceRequestID()
		region = resp.Response.Header.Get("X-Amz-Bucket-Region")
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		e.Code, e.Message = api.ErrorCode(), api.ErrorMessage()
	}
	switch {
	case e.Status == 0 && e.Code == "":
		e.Message = plain(ctx, err)
		e.WayOut = s.unreached(ctx, err)
	case unreadable(err) == aws.TrueTernary:
		e.Message = "the answer cannot be read: " + plain(ctx, err)
	case !e.missing():
		e.WayOut = s.wayOut(e, region)
	}
	return e
}

// plain is an error without the request's URL and the library's framing.
func plain(ctx context.Context, err error) string {
	if cause := context.Cause(ctx); cause != nil {
		return cause.Error()
	}
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err.Error()
	}
	var last error
	for last = err; errors.Unwrap(last) != nil; {
		last = errors.Unwrap(last)
	}
	return last.Error()
}

func (s *Store) unreached(ctx context.Context, err error) string {
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return ""
	case strings.Contains(err.Error(), "credentials"):
		return "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile, or run where a role is attached"
	case s.opts.Endpoint != "":
		return "look whether " + s.opts.Endpoint + " is the server's address and answers"
	}
	return "look whether this machine reaches S3 in the region that was given"
}

// actions are the rights that operations need, beside those that S3 checks by the same name.
var actions = map[string]string{
	"GetObject": "s3:GetObject, and s3:ListBucket on the bucket (without it a missing object is forbidden too)",
	"PutObject": "s3:PutObject", "CreateMultipartUpload": "s3:PutObject", "UploadPart": "s3:PutObject",
	"CompleteMultipartUpload": "s3:PutObject", "AbortMultipartUpload": "s3:AbortMultipartUpload",
	"HeadObject": "s3:GetObject", "ListObjectsV2": "s3:ListBucket on the bucket",
	"DeleteObject": "s3:DeleteObject", "DeleteObjects": "s3:DeleteObject",
}

// wayOut is what may help against a refusal; region is the bucket's where the answer says it.
func (s *Store) wayOut(e *Error, region string) string {
	switch e.Code {
	case "NoSuchBucket":
		return "make the bucket, or mend its name in the URL"
	case "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken":
		return "the credentials have expired or are not valid: renew them"
	case "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return "the server does not know these credentials: see AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the profile"
	case "RequestTimeTooSkewed":
		return "set this machine's clock"
	case "SlowDown", "ServiceUnavailable", "InternalError":
		return "the server is overloaded: it was asked again and again; try later"
	case "AuthorizationHeaderMalformed", "PermanentRedirect", "IllegalLocationConstraintException":
		return wrongRegion(region)
	}
	switch {
	case e.Status == http.StatusMovedPermanently || e.Status == http.StatusTemporaryRedirect || region != "" && e.Status == http.StatusBadRequest:
		return wrongRegion(region)
	case strings.HasPrefix(e.Code, "KMS.") || s.opts.SSE != "" && e.Status == http.StatusForbidden:
		return "these credentials need " + firstOf(actions[e.Op], e.Op) + ", and kms:GenerateDataKey and kms:Decrypt on the key"
	case e.Status == http.StatusForbidden:
		return "these credentials need " + firstOf(actions[e.Op], e.Op) + ": see the policy in docs/operations.md"
	}
	return ""
}

func wrongRegion(region string) string {
	if region == "" {
		return "the bucket is in another region: give its own as region="
	}
	return "the bucket is in another region: give region=" + region
}

// status is the HTTP status of an answer, 0 where there was none.
func status(err error) int {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Status
	}
	return 0
}

func code(err error) string {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Code
	}
	return ""
}
