package hudi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// BucketOf returns the bucket, 0 to n-1, in which Hudi's bucket index puts a record
// key of a table whose key is made of fields: the hash of its value or, when there
// are several, of their list. It agrees with Hudi 1.2; Hudi 0.15 puts every text
// key with a colon, where that is the only field, in one wrong bucket.
func BucketOf(key string, fields []string, n int) int {
	return int(keyHashOf(key, fields)&0x7fffffff) % n
}

// keyHashOf is the hash code of the Java list of the key's values.
func keyHashOf(key string, fields []string) int32 {
	if strings.IndexByte(key, ',') < 0 || strings.IndexByte(key, ':') < 0 {
		return 31 + javaHash(key)
	}
	hash, found := int32(1), false
	for rest := key; rest != ""; {
		name, value, next, ok := keyPart(rest)
		if !ok {
			break
		}
		if slices.Contains(fields, name) {
			found = true
			hash = 31*hash + valueHash(value)
		}
		rest = next
	}
	if !found {
		return 31 + javaHash(key)
	}
	return hash
}

// keyPart cuts the first name:value from a composite key. Commas and colons in the
// value belong to it as long as no name, which has neither, can begin there.
func keyPart(key string) (name, value, rest string, ok bool) {
	name, after, ok := strings.Cut(key, ":")
	if !ok {
		return "", "", "", false
	}
	for from := 0; ; {
		colon := strings.IndexByte(after[from:], ':')
		if colon < 0 {
			return name, after, "", true
		}
		if comma := strings.LastIndexByte(after[:from+colon], ','); comma >= 0 {
			return name, after[:comma], after[comma+1:], true
		}
		from += colon + 1
	}
}

func valueHash(value string) int32 {
	switch value {
	case nullKeyPart, emptyKeyPart:
		return 0 // of null and of the empty string
	}
	return javaHash(value)
}

// javaHash is the hash code of a Java string, which counts UTF-16 units.
func javaHash(s string) int32 {
	var h int32
	for _, c := range s {
		if c >= 0x10000 {
			c -= 0x10000
			h = 31*h + 0xd800 + c>>10
			c = 0xdc00 + c&0x3ff
		}
		h = 31*h + c
	}
	return h
}

// newBucketFileID makes the id of a bucket's file group: eight digits of bucket,
// the rest of a random UUID, and "-0".
func newBucketFileID(bucket int) string {
	return fmt.Sprintf("%08d%s-0", bucket, uuid.NewString()[8:])
}

// bucketOfFileID reads the bucket from the id of a file group.
func bucketOfFileID(id string) (int, error) {
	if len(id) < 8 {
		return 0, fmt.Errorf("read bucket of file group %q: want eight digits", id)
	}
	bucket, err := strconv.ParseUint(id[:8], 10, 32)
	if err != nil {
		return 0, fmt.Errorf("read bucket of file group %q: want eight digits", id)
	}
	return int(bucket), nil
}
