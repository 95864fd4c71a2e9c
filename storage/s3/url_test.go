package s3_test

import (
	"strings"
	"testing"

	"lakefeed/storage/s3"
)

func TestParseURL(t *testing.T) {
	t.Parallel()
	for url, want := range map[string]s3.Options{
		"s3://bucket":                          {Bucket: "bucket"},
		"s3a://bucket/a/b/?region=eu-west-1":   {Bucket: "bucket", Prefix: "a/b", Region: "eu-west-1"},
		"s3://b.c-d/%C3%A4 b?profile=lake":     {Bucket: "b.c-d", Prefix: "ä b", Profile: "lake"},
		"s3://bkt/x?endpoint=http://[::1]:9":   {Bucket: "bkt", Prefix: "x", Endpoint: "http://[::1]:9", PathStyle: true},
		"s3://bkt?sse=aws:kms&kms_key=alias/k": {Bucket: "bkt", SSE: "aws:kms", KMSKey: "alias/k"},
		"s3://bkt?endpoint=https://s3.example&path_style=false&role_arn=arn:aws:iam::123456789012:role/x&external_id=y": {
			Bucket: "bkt", Endpoint: "https://s3.example", RoleARN: "arn:aws:iam::123456789012:role/x", ExternalID: "y",
		},
	} {
		got, err := s3.ParseURL(url)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", url, got, err)
		}
		again, err := s3.ParseURL(got.URL())
		if err != nil || again != want {
			t.Errorf("%s as %s: %+v, %v", url, got.URL(), again, err)
		}
	}
}

func TestParseURLRefuses(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for url, says := range map[string]string{
		"s3://":                                     "names no bucket",
		"gs://b":                                    "want s3://",
		"s3://key:" + secret + "@bucket/x":          "credentials in it",
		"s3://bucket/x?secret_key=" + secret:        "a parameter that is unknown",
		"s3://bucket/x?region=a&region=b":           "given twice",
		"s3://bucket/x?region=" + secret + "%zz":    "cannot be read",
		"s3://bucket/a//b":                          "folder",
		"s3://bucket/../b":                          "folder",
		"s3://bucket/x#y":                           "%23",
		"s3://bucket?endpoint=ftp://x":              "endpoint is none",
		"s3://bucket?endpoint=http://u:hunter2@h":   "endpoint is none",
		"s3://bucket?path_style=" + secret:          "neither true nor false",
		"s3://bucket?role_arn=" + secret:            "role_arn is none",
		"s3://bucket?external_id=" + secret:         "goes with role_arn",
		"s3://bucket?sse=" + secret:                 "sse is none of",
		"s3://bucket?kms_key=" + secret:             "goes with sse",
		"s3://bucket?region=" + secret + ".x/y":     "region is none",
		"s3://bucket--use1-az4--x-s3/lake":          "a directory bucket",
		"s3://bu cket/" + secret:                    "is not a URL",
		"s3://bucket/x?endpoint=http://h?" + secret: "endpoint is none",
	} {
		_, err := s3.ParseURL(url)
		if err == nil || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v, want %q", url, err, says)
		}
	}
}

func FuzzParseURL(f *testing.F) {
	f.Add("s3://bucket/a/b?endpoint=http://h:1&region=x")
	f.Add("s3a://b/%2e%2e/?sse=AES256")
	f.Fuzz(func(t *testing.T, url string) {
		o, err := s3.ParseURL(url)
		if err != nil {
			return
		}
		if again, err := s3.ParseURL(o.URL()); err != nil || again != o {
			t.Errorf("%q: %+v became %+v, %v", url, o, again, err)
		}
	})
}
