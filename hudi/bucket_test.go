package hudi

import (
	"strings"
	"testing"
)

// The buckets are what BucketIdentifier of Hudi 1.2.0 returned for these keys.
func TestBucketOfAgreesWithHudi(t *testing.T) {
	tests := []struct {
		fields, key string
		want        int
	}{
		{"id", "1", 80},
		{"id", "12345678", 129481},
		{"id", "a:b", 95144},
		{"id", "a,b", 94710},
		{"id", "a:b,c", 404814},
		{"id", "12:30:45", 464213},
		{"id", "x,y:z", 251220},
		{"id", ",", 75},
		{"id", ":", 89},
		{"id", "a,", 3082},
		{"id", "a,b,", 935118},
		{"id", "😀", 772927},
		{"id", "é", 264},
		{"id", "a%3Ab", 734689},
		{"id", "id:7", 226030},
		{"id", "https://x.y/z?a,b", 578757},
		{"id", "%", 68},
		{"id", "", 31},
		{"id", "\ue000😀", 880346},
		{"id", "a:b,id:5", 84},
		{"id", "x,id:5", 871440},
		{"id", "id:1,x:2", 80},
		{"id", `{"a":1,"b":2}`, 502163},
		{"a,b", "a:1,b:2", 2530},
		{"a,b", "a:1,b:__empty__", 2480},
		{"a,b", "a:__null__,b:2", 1011},
		{"a,b", "a:x%3Ay,b:%252C", 479567},
		{"a,b", "a:😀,b:é", 960901},
		{"a,b", "a:12:30,b:2", 779487},
		{"a,b", "a:1,2,b:2", 504601},
		{"a,b", "b:2,a:1", 2560},
		{"a,b", "a:%5F_null__,b:1", 793269},
		{"a,b", "a:,b:1", 1010},
		{"a,b", "a:1,b:x:y", 119719},
		{"a,b", "a:1:2,b:x:y", 635244},
		{"b", "a:1,b:2", 81},
		{"a,b,c", "a:1,b:2,c:3", 78481},
		{"a", "a:1", 95095},
	}
	for _, tt := range tests {
		if got := BucketOf(tt.key, strings.Split(tt.fields, ","), 1000003); got != tt.want {
			t.Errorf("BucketOf(%q, %s) = %d, want %d", tt.key, tt.fields, got, tt.want)
		}
	}
}

// Hudi 1.2.0 does not return for these; they must at least stay in one place.
func TestBucketOfEndsWhereHudiLoops(t *testing.T) {
	for _, key := range []string{"a:b:c,d", "a:b,c:d:e", "12:30:45,5"} {
		if got, want := keyHashOf(key, []string{"id"}), 31+javaHash(key); got != want {
			t.Errorf("hash of %q = %d, want %d, that of the whole key", key, got, want)
		}
	}
}

func TestBucketFileID(t *testing.T) {
	id := newBucketFileID(42)
	if len(id) != 38 || !strings.HasPrefix(id, "00000042-") || !strings.HasSuffix(id, "-0") {
		t.Errorf("file id %q", id)
	}
	if b, err := bucketOfFileID(id); err != nil || b != 42 {
		t.Errorf("bucket of %q = %d, %v", id, b, err)
	}
	for _, bad := range []string{"", "1234567", "0bff8dca-b132-49f3-8a44-aec395d410a4-1", "+0000001-"} {
		if _, err := bucketOfFileID(bad); err == nil {
			t.Errorf("bucket of %q: no error", bad)
		}
	}
}

func BenchmarkBucketOf(b *testing.B) {
	for name, key := range map[string]string{"single": "1234567", "composite": "warehouse:17,item:9231"} {
		b.Run(name, func(b *testing.B) {
			fields := []string{"warehouse", "item"}
			for b.Loop() {
				BucketOf(key, fields, 16)
			}
		})
	}
}
