package rdsiam_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lakefeed/postgres/rdsiam"
)

// withKeys gives the process credentials of nobody.
func withKeys(t *testing.T) {
	t.Helper()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "the-secret-key", "AWS_SESSION_TOKEN": "", "AWS_PROFILE": "",
		"AWS_REGION": "", "AWS_DEFAULT_REGION": "", "AWS_CONFIG_FILE": "/none", "AWS_SHARED_CREDENTIALS_FILE": "/none", "AWS_EC2_METADATA_DISABLED": "true",
	} {
		t.Setenv(name, value)
	}
}

func TestToken(t *testing.T) {
	withKeys(t)
	const host = "shop.cluster-abc.eu-central-1.rds.amazonaws.com"
	token, err := rdsiam.New(rdsiam.Options{}).Token(t.Context(), host, 5432, "lake feed")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse("https://" + token)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if u.Host != host+":5432" || q.Get("Action") != "connect" || q.Get("DBUser") != "lake feed" || q.Get("X-Amz-Expires") != "900" {
		t.Errorf("token for %s: %v", u.Host, q)
	}
	if scope := q.Get("X-Amz-Credential"); !strings.HasPrefix(scope, "AKIDEXAMPLE/") || !strings.HasSuffix(scope, "/eu-central-1/rds-db/aws4_request") {
		t.Errorf("credential scope %s", scope)
	}
	if len(q.Get("X-Amz-Signature")) != 64 || strings.Contains(token, "the-secret-key") {
		t.Error("no signature, or the key itself")
	}
}

func TestRegion(t *testing.T) {
	withKeys(t)
	for host, want := range map[string]string{
		"shop.abc.us-east-1.rds.amazonaws.com":     "us-east-1",
		"shop.abc.cn-north-1.rds.amazonaws.com.cn": "cn-north-1",
		"shop.abc.eu-west-1.rds.amazonaws.com.":    "eu-west-1",
		"db.example.com":                           "",
	} {
		if got := rdsiam.Region(host); got != want {
			t.Errorf("%s: %q, want %q", host, got, want)
		}
	}
	_, err := rdsiam.New(rdsiam.Options{}).Token(t.Context(), "db.example.com", 5432, "u")
	if err == nil || !strings.Contains(err.Error(), "rds_iam.region") {
		t.Errorf("no region, and %v", err)
	}
	token, err := rdsiam.New(rdsiam.Options{Region: "eu-north-1"}).Token(t.Context(), "db.example.com", 5432, "u")
	if err != nil || !strings.Contains(token, "eu-north-1") {
		t.Errorf("a region that was set: %v", err)
	}
}

// TestCredentialsOfFile: a file of credentials that somebody else renews is read for each token.
func TestCredentialsOfFile(t *testing.T) {
	withKeys(t)
	file := filepath.Join(t.TempDir(), "credentials")
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", file)
	signer := rdsiam.New(rdsiam.Options{Region: "eu-north-1"})
	token := func() (string, error) { return signer.Token(t.Context(), "db.example.com", 5432, "u") }
	if _, err := token(); err == nil {
		t.Fatal("a token without credentials")
	}
	for _, id := range []string{"AKIDFIRST", "AKIDSECOND"} {
		if err := os.WriteFile(file, []byte("[default]\naws_access_key_id = "+id+"\naws_secret_access_key = s\naws_session_token = t\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := token(); err != nil || !strings.Contains(got, "X-Amz-Credential="+id) {
			t.Errorf("with the credentials of %s: %v", id, err)
		}
	}
}
