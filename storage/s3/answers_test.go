package s3_test

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"lakefeed/internal/s3test"
	"lakefeed/storage"
	"lakefeed/storage/s3"
)

// answering is a store whose server gives one answer to all requests.
func answering(t *testing.T, params string, answer http.HandlerFunc) *s3.Store {
	t.Helper()
	s3test.Environment()
	server := httptest.NewServer(answer)
	t.Cleanup(server.Close)
	o, err := s3.ParseURL(s3test.URL("bucket/lake", server.URL) + params)
	check(t, err)
	s, err := s3.OpenSmall(t.Context(), o, smallPart, partMemory)
	check(t, err)
	return s
}

func refusal(status int, code string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amz-Request-Id", "REQ42")
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		if code != "" {
			_, _ = fmt.Fprintf(w, "<Error><Code>%s</Code><Message>the server says so</Message><StringToSign>%s</StringToSign></Error>", code, s3test.SecretKey)
		}
	}
}

// Errors name the operation, the object, the answer and the way out.
func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		status int
		code   string
		header []string
		final  bool
		says   string
	}{
		{403, "AccessDenied", nil, true, "need s3:GetObject"},
		{403, "InvalidAccessKeyId", nil, true, "does not know these credentials"},
		{403, "RequestTimeTooSkewed", nil, true, "clock"},
		{400, "ExpiredToken", nil, false, "have expired"},
		{404, "NoSuchBucket", nil, true, "make the bucket"},
		{301, "PermanentRedirect", []string{"X-Amz-Bucket-Region", "eu-west-3"}, true, "give region=eu-west-3"},
		{400, "AuthorizationHeaderMalformed", nil, true, "another region"},
		{503, "SlowDown", nil, false, "overloaded"},
		{500, "", nil, false, "HTTP 500"},
		{400, "KMS.DisabledException", nil, true, "kms:Decrypt"},
	} {
		t.Run(test.code, func(t *testing.T) {
			t.Parallel()
			s := answering(t, "", refusal(test.status, test.code, test.header...))
			_, _, err := s.Get(t.Context(), "a/f")
			e := new(s3.Error)
			if !errors.As(err, &e) || e.Status != test.status || e.Final() != test.final || errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("got %#v", err)
			}
			for _, part := range []string{"GetObject s3://bucket/lake/a/f", test.code, test.says, "REQ42"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), s3test.SecretKey) {
				t.Errorf("a secret shows: %v", err)
			}
		})
	}
}

func TestMissingObject(t *testing.T) {
	t.Parallel()
	s := answering(t, "", refusal(404, "NoSuchKey"))
	if _, _, err := s.Get(t.Context(), "f"); !errors.Is(err, storage.ErrNotExist) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestNoServer(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	s3test.Environment()
	o, err := s3.ParseURL(s3test.URL("bucket", server.URL))
	check(t, err)
	s, err := s3.OpenSmall(t.Context(), o, smallPart, partMemory)
	check(t, err)
	_, err = s.Dirs(t.Context(), "")
	if e := new(s3.Error); !errors.As(err, &e) || e.Status != 0 || e.Final() || !strings.Contains(err.Error(), "connection refused") || !strings.Contains(err.Error(), server.URL) {
		t.Errorf("got %v", err)
	}
}

// A server that takes conditions and does not honour them, or does not take them, is
// refused before it is relied upon; readers never ask.
func TestConditionsAreTried(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]http.HandlerFunc{
		"ignores":     func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("ETag", `"x"`) },
		"knows none":  refusal(501, "NotImplemented"),
		"refuses all": refusal(400, "InvalidArgument"),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := answering(t, "", answer)
			for range 2 {
				if err := s.PutIfAbsent(t.Context(), "f", nil); !errors.Is(err, s3.ErrConditions) {
					t.Errorf("PutIfAbsent returned %v", err)
				}
			}
			if _, err := s.PutIfMatch(t.Context(), "f", nil, `"x"`); !errors.Is(err, s3.ErrConditions) {
				t.Errorf("PutIfMatch returned %v", err)
			}
			if n := counted(s, "PutObject"); n > 3 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// seen keeps the headers of requests by method.
type seen struct {
	mu     sync.Mutex
	header map[string]http.Header
}

func (s *seen) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.header == nil {
		s.header = map[string]http.Header{}
	}
	name := r.Method
	if r.URL.Query().Has("uploads") {
		name = "uploads"
	}
	s.header[name] = r.Header
	_, _ = io.Copy(io.Discard, r.Body)
	if r.Method == http.MethodPut {
		w.Header().Set("ETag", `"x"`)
	}
	if name == "uploads" {
		_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
	}
}

func TestEncryptionIsAskedFor(t *testing.T) {
	t.Parallel()
	var requests seen
	s := answering(t, "&sse=aws:kms&kms_key=arn:aws:kms:eu-west-1:1:key/k", requests.answer)
	check(t, s.Put(t.Context(), "f", []byte("x")))
	check(t, write(t, s, "large", make([]byte, smallPart+1)).Abort())
	for _, of := range []string{http.MethodPut, "uploads"} {
		h := requests.header[of]
		if of == http.MethodPut && h.Get("X-Amz-Server-Side-Encryption") == "" {
			continue // that of a part, which takes its upload's
		}
		if h.Get("X-Amz-Server-Side-Encryption") != "aws:kms" || h.Get("X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id") != "arn:aws:kms:eu-west-1:1:key/k" {
			t.Errorf("%s: %v", of, h)
		}
	}
}

// tokenService answers like STS, with credentials named after the action.
func tokenService(t *testing.T) {
	t.Helper()
	sts := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		action := r.Form.Get("Action")
		_, _ = fmt.Fprintf(w, `<%[1]sResponse><%[1]sResult><Credentials><AccessKeyId>by-%[1]s</AccessKeyId><SecretAccessKey>s</SecretAccessKey>`+
			`<SessionToken>token of %[2]s %[3]s</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></%[1]sResult></%[1]sResponse>`,
			action, r.Form.Get("RoleArn"), r.Form.Get("ExternalId"))
	}))
	t.Cleanup(sts.Close)
	t.Setenv("AWS_ENDPOINT_URL_STS", sts.URL)
}

const role = "arn:aws:iam::123456789012:role/lake"

func TestAssumedRole(t *testing.T) {
	tokenService(t)
	var requests seen
	s := answering(t, "&role_arn="+role+"&external_id=ours", requests.answer)
	check(t, s.Put(t.Context(), "f", nil))
	if h := requests.header[http.MethodPut]; !strings.Contains(h.Get("Authorization"), "by-AssumeRole/") || h.Get("X-Amz-Security-Token") != "token of "+role+" ours" {
		t.Errorf("headers %v", h)
	}
}

func TestWebIdentity(t *testing.T) {
	tokenService(t)
	s3test.Environment()
	token := filepath.Join(t.TempDir(), "token")
	check(t, os.WriteFile(token, []byte("jwt"), 0o600))
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_WEB_IDENTITY_TOKEN_FILE": token, "AWS_ROLE_ARN": role,
	} {
		t.Setenv(name, value)
	}
	var requests seen
	s := answering(t, "", requests.answer)
	check(t, s.Put(t.Context(), "f", nil))
	if h := requests.header[http.MethodPut]; !strings.Contains(h.Get("Authorization"), "by-AssumeRoleWithWebIdentity/") {
		t.Errorf("headers %v", h)
	}
}

func TestProfile(t *testing.T) {
	s3test.Environment()
	file := filepath.Join(t.TempDir(), "credentials")
	check(t, os.WriteFile(file, []byte("[lake]\naws_access_key_id = of-profile\naws_secret_access_key = x\n"), 0o600))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	var requests seen
	s := answering(t, "&profile=lake", requests.answer)
	check(t, s.Put(t.Context(), "f", nil))
	if h := requests.header[http.MethodPut]; !strings.Contains(h.Get("Authorization"), "of-profile/") {
		t.Errorf("headers %v", h)
	}
}

// TestUnreadableAnswer asks again where an answer breaks off, and says so where all do.
func TestUnreadableAnswer(t *testing.T) {
	t.Parallel()
	const whole = `<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>lake/a</Key><Size>1</Size></Contents></ListBucketResult>`
	list := func(s *s3.Store) (names []string, err error) {
		for info, err := range s.List(t.Context(), "", true) {
			if err != nil {
				return nil, err
			}
			names = append(names, info.Name)
		}
		return names, nil
	}
	var asked atomic.Int32
	s := answering(t, "", func(w http.ResponseWriter, _ *http.Request) {
		answer := whole
		if asked.Add(1) == 1 {
			answer = whole[:len(whole)/2]
		}
		_, _ = io.WriteString(w, answer)
	})
	if names, err := list(s); err != nil || len(names) != 1 || asked.Load() != 2 {
		t.Errorf("after one broken answer: %v, %v, asked %d times", names, err, asked.Load())
	}
	s = answering(t, "", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, whole[:len(whole)/2]) })
	if _, err := list(s); err == nil || !strings.Contains(err.Error(), "HTTP 200 OK: the answer cannot be read: ") {
		t.Errorf("of broken answers: %v", err)
	}
}
