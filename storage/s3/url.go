package s3

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"lakefeed/storage"
)

// Options say which bucket a store is in, and how it is reached. Only Bucket must be set.
type Options struct {
	Bucket string
	Prefix string // folder in the bucket, "" for all of it

	// Endpoint is the URL of a server other than AWS: http://127.0.0.1:9000. Empty: the
	// environment's (AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL), else AWS.
	Endpoint string
	// Region; empty: the environment's or the profile's, with an Endpoint us-east-1.
	Region string
	// PathStyle puts the bucket into the path, not into the host's name. ParseURL sets it
	// where there is an endpoint.
	PathStyle bool
	// Profile of the shared configuration files; empty: AWS_PROFILE, else default.
	Profile string
	// RoleARN is a role to assume, with the credentials that are found otherwise.
	RoleARN    string
	ExternalID string // that the role's trust policy asks for
	// SSE asks the server to encrypt: AES256, aws:kms or aws:kms:dsse; empty: as the bucket does.
	SSE    string
	KMSKey string // for aws:kms; empty: the account's key for S3
}

// parameters of the URL, in the order of docs/configuration.md.
var parameters = []string{"endpoint", "region", "path_style", "profile", "role_arn", "external_id", "sse", "kms_key"}

const urlForm = "want s3://bucket/folder?region=...; parameters: endpoint, region, path_style, profile, role_arn, external_id, sse, kms_key"

// ParseURL reads s3://bucket/prefix?endpoint=...&region=.... Its errors show nothing of
// the URL that may be a secret.
func ParseURL(text string) (Options, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return Options{}, errors.New("is not a URL: " + urlForm)
	case u.Scheme != "s3" && u.Scheme != "s3a":
		return Options{}, errors.New("is none of a bucket: " + urlForm)
	case u.User != nil:
		return Options{}, errors.New("has credentials in it: they belong into the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY), a profile or a role")
	case u.Fragment != "":
		return Options{}, errors.New("has a # in it: write %23")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return Options{}, errors.New("has parameters that cannot be read: " + urlForm)
	}
	for name, values := range q {
		if !slices.Contains(parameters, name) || len(values) != 1 || values[0] == "" {
			return Options{}, errors.New("has a parameter that is unknown, empty or given twice: " + urlForm)
		}
	}
	o := Options{
		Bucket: u.Host, Prefix: strings.Trim(u.Path, "/"),
		Endpoint: q.Get("endpoint"), Region: q.Get("region"), PathStyle: q.Has("endpoint"),
		Profile: q.Get("profile"), RoleARN: q.Get("role_arn"), ExternalID: q.Get("external_id"),
		SSE: q.Get("sse"), KMSKey: q.Get("kms_key"),
	}
	if v := q.Get("path_style"); v != "" {
		if o.PathStyle, err = strconv.ParseBool(v); err != nil {
			return Options{}, errors.New("is wrong: path_style is neither true nor false")
		}
	}
	return o, o.Validate()
}

var (
	bucketName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9._-]{1,254}$`)
	regionName = regexp.MustCompile(`^[a-zA-Z0-9-]+$`)
	roleName   = regexp.MustCompile(`^arn:[a-z0-9-]+:iam::[0-9]{12}:role/[\w+=,.@/-]+$`)
)

// Validate names the option that cannot be.
func (o *Options) Validate() error {
	switch {
	case !bucketName.MatchString(o.Bucket):
		return errors.New("names no bucket: " + urlForm)
	case strings.HasSuffix(o.Bucket, "--x-s3"):
		return errors.New("names a directory bucket, and those list their files in no order: take a general purpose bucket")
	case o.Region != "" && !regionName.MatchString(o.Region):
		return errors.New("is wrong: region is none")
	case o.RoleARN != "" && !roleName.MatchString(o.RoleARN):
		return errors.New("is wrong: role_arn is none: want arn:aws:iam::123456789012:role/name")
	case o.ExternalID != "" && o.RoleARN == "":
		return errors.New("is wrong: external_id goes with role_arn")
	case o.SSE != "" && o.SSE != "AES256" && o.SSE != "aws:kms" && o.SSE != "aws:kms:dsse":
		return errors.New("is wrong: sse is none of AES256, aws:kms and aws:kms:dsse")
	case o.KMSKey != "" && !strings.HasPrefix(o.SSE, "aws:kms"):
		return errors.New("is wrong: kms_key goes with sse=aws:kms")
	}
	if o.Prefix != "" {
		if err := storage.CheckFolder(o.Prefix); err != nil {
			return fmt.Errorf("has a folder that cannot be: %w", err)
		}
	}
	return o.checkEndpoint()
}

func (o *Options) checkEndpoint() error {
	if o.Endpoint == "" {
		return nil
	}
	u, err := url.Parse(o.Endpoint)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return errors.New("is wrong: endpoint is none: want http://host:port or https://host, without credentials")
	}
	return nil
}

// URL is what ParseURL reads; it has no secrets.
func (o *Options) URL() string {
	u := url.URL{Scheme: "s3", Host: o.Bucket, Path: "/" + o.Prefix}
	q := url.Values{}
	for i, v := range []string{o.Endpoint, o.Region, "", o.Profile, o.RoleARN, o.ExternalID, o.SSE, o.KMSKey} {
		if v != "" {
			q.Set(parameters[i], v)
		}
	}
	if o.PathStyle != (o.Endpoint != "") {
		q.Set("path_style", strconv.FormatBool(o.PathStyle))
	}
	u.RawQuery = q.Encode()
	return u.String()
}
