package s3_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"lakefeed/internal/s3test"
	"lakefeed/internal/seed"
	"lakefeed/storage"
	"lakefeed/storage/s3"
	"lakefeed/storage/storagetest"
)

const (
	smallPart  = 5 << 20 // the server takes no less
	partMemory = 32 << 20
)

func TestStore(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	storagetest.Run(t, func(t *testing.T) storage.Store { return open(t, server.Bucket(t)) })
}

// The same promises on a network that loses every tenth request or answer.
func TestStoreOnBadNetwork(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(seed.New(t), 0))
	proxy := s3test.NewProxy(t, server, func(*http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		if random.IntN(10) > 0 {
			return s3test.None
		}
		return s3test.Fault(random.IntN(int(s3test.CutBody) + 1))
	})
	storagetest.Run(t, func(t *testing.T) storage.Store {
		return openThrough(t, server, proxy)
	})
}

func open(t testing.TB, url string) *s3.Store {
	t.Helper()
	o, err := s3.ParseURL(url)
	check(t, err)
	s, err := s3.OpenSmall(t.Context(), o, smallPart, partMemory)
	check(t, err)
	return s
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// randomBytes is the same for the same n.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b) // never fails
	return b
}

// write writes data in pieces of uneven sizes.
func write(t testing.TB, s storage.Store, name string, data []byte) storage.Writer {
	t.Helper()
	w, err := s.Create(t.Context(), name)
	check(t, err)
	for i, n := 0, 0; i < len(data); i += n {
		n = min(len(data)-i, 300_000+i%7)
		_, err := w.Write(data[i : i+n])
		check(t, err)
	}
	return w
}

func counted(s *s3.Store, op string) int64 { return s.Requests().ByOperation()[op].Requests }

func TestMultipart(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	for name, memory := range map[string]int64{"in memory": partMemory, "on disk": 1 << 20} {
		for _, size := range []int{smallPart - 1, smallPart, smallPart + 1, 3 * smallPart, 3*smallPart + 12345} {
			t.Run(fmt.Sprintf("%s %d", name, size), func(t *testing.T) {
				o, err := s3.ParseURL(server.Bucket(t))
				check(t, err)
				s, err := s3.OpenSmall(t.Context(), o, smallPart, memory)
				check(t, err)
				data := randomBytes(size)
				check(t, write(t, s, "f", data).Commit())
				got, _, err := s.Get(t.Context(), "f")
				check(t, err)
				if !bytes.Equal(got, data) {
					t.Error("read something else than was written")
				}
				parts := int64((size + smallPart - 1) / smallPart)
				if size <= smallPart {
					parts = 0
				}
				if n := counted(s, "UploadPart"); n != parts {
					t.Errorf("%d parts were sent, want %d", n, parts)
				}
				if !s.MemoryFree(memory) {
					t.Error("parts still hold memory")
				}
			})
		}
	}
}

func uploads(t *testing.T, server *s3test.Server, s *s3.Store) int {
	t.Helper()
	o, err := s3.ParseURL(s.String())
	check(t, err)
	out, err := server.Client().ListMultipartUploads(t.Context(), &awss3.ListMultipartUploadsInput{Bucket: &o.Bucket})
	check(t, err)
	return len(out.Uploads)
}

func TestAbortLeavesNoUpload(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	s := open(t, server.Bucket(t))
	w := write(t, s, "f", randomBytes(2*smallPart+5))
	if n := uploads(t, server, s); n != 1 {
		t.Fatalf("%d uploads under way, want 1", n)
	}
	check(t, w.Abort())
	if n := uploads(t, server, s); n != 0 || !s.MemoryFree(partMemory) {
		t.Errorf("after Abort: %d uploads, memory free: %v", n, s.MemoryFree(partMemory))
	}
}

// openThrough opens a bucket of its own behind a proxy.
func openThrough(t *testing.T, server *s3test.Server, proxy *s3test.Proxy) *s3.Store {
	t.Helper()
	o, err := s3.ParseURL(server.Bucket(t))
	check(t, err)
	o.Endpoint = proxy.URL
	s, err := s3.OpenSmall(t.Context(), o, smallPart, partMemory)
	check(t, err)
	return s
}

func TestFailedPart(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	proxy := s3test.NewProxy(t, server, func(r *http.Request) s3test.Fault {
		if r.URL.Query().Get("partNumber") == "2" {
			return s3test.Refuse
		}
		return s3test.None
	})
	s := openThrough(t, server, proxy)
	w, err := s.Create(t.Context(), "f")
	check(t, err)
	_, err = io.Copy(w, bytes.NewReader(randomBytes(2*smallPart+1)))
	if err == nil {
		err = w.Commit()
	}
	if e := new(s3.Error); !errors.As(err, &e) || e.Op != "UploadPart" {
		t.Fatalf("got %v, want the error of a part", err)
	}
	if again := w.Commit(); again == nil {
		t.Error("committed after a part was lost")
	}
	check(t, w.Abort())
	if n := uploads(t, server, s); n != 0 || !s.MemoryFree(partMemory) {
		t.Errorf("after Abort: %d uploads, memory free: %v", n, s.MemoryFree(partMemory))
	}
}

// An answer that is lost after the server did what it was asked is no failure.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var mu sync.Mutex
	lost := map[string]bool{}
	proxy := s3test.NewProxy(t, server, func(r *http.Request) s3test.Fault {
		mu.Lock()
		defer mu.Unlock()
		q := r.URL.Query()
		name := r.Method + r.URL.Path + q.Get("partNumber") + fmt.Sprint(q.Has("uploads"), q.Has("uploadId"), r.Header.Get("If-Match"))
		if r.Method == http.MethodGet || r.Method == http.MethodHead || lost[name] {
			return s3test.None
		}
		lost[name] = true
		return s3test.LoseAnswer
	})
	s := openThrough(t, server, proxy)
	ctx := t.Context()

	check(t, s.PutIfAbsent(ctx, "lock", nil)) // of several writers all put the same
	if err := s.PutIfAbsent(ctx, "lock", nil); !errors.Is(err, storage.ErrExist) {
		t.Errorf("the second put of the same returned %v", err)
	}
	_, v, err := s.Get(ctx, "lock")
	check(t, err)
	next, err := s.PutIfMatch(ctx, "lock", []byte("2"), v)
	check(t, err)
	if _, err := s.PutIfMatch(ctx, "lock", []byte("2"), v); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("a put over a version that is gone returned %v", err)
	}
	if _, v, err = s.Get(ctx, "lock"); err != nil || v != next {
		t.Errorf("version %s, %v; want %s", v, err, next)
	}
	data := randomBytes(2*smallPart + 1)
	check(t, write(t, s, "large", data).Commit())
	if got, _, err := s.Get(ctx, "large"); err != nil || !bytes.Equal(got, data) {
		t.Errorf("the large file: %d bytes, %v", len(got), err)
	}
	if len(lost) < 8 {
		t.Errorf("only %d answers were lost", len(lost))
	}
}

// A server that is asked too much is asked again, later.
func TestSlowDown(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	left := 4
	proxy := s3test.NewProxy(t, server, func(*http.Request) s3test.Fault {
		if left == 0 {
			return s3test.None
		}
		left--
		return s3test.SlowDown
	})
	s := openThrough(t, server, proxy)
	var mine storage.Requests
	check(t, s.Put(storage.CountRequests(t.Context(), &mine), "f", []byte("12345")))
	check(t, s.Put(t.Context(), "g", nil))
	if got := mine.ByOperation()["PutObject"]; got != (storage.RequestCount{Requests: 5, Failed: 4, Sent: 25, Received: got.Received}) {
		t.Errorf("counted %+v", got)
	}
	if n := s.Requests().Total(); n != 6 || mine.Total() != 5 {
		t.Errorf("%d requests in all, %d of the first call", n, mine.Total())
	}
}

func TestCancel(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	ctx, cancel := context.WithCancel(t.Context())
	proxy := s3test.NewProxy(t, server, func(*http.Request) s3test.Fault {
		cancel()
		return s3test.SlowDown
	})
	o, err := s3.ParseURL(server.Bucket(t))
	check(t, err)
	o.Endpoint = proxy.URL
	s, err := s3.Open(t.Context(), o) // with long pauses
	check(t, err)
	if _, _, err := s.Get(ctx, "f"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Reading columns side by side, as Parquet does, fetches what is read about once.
func TestReadAhead(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	s := open(t, server.Bucket(t))
	data := randomBytes(24 << 20)
	check(t, write(t, s, "f", data).Commit())
	for _, streams := range []int{1, 7, 200} {
		var count storage.Requests
		r, err := s.Open(storage.CountRequests(t.Context(), &count), "f")
		check(t, err)
		const step = 16 << 10
		each := len(data) / streams
		b := make([]byte, step)
		for at := 0; at < each; at += step {
			for c := range streams {
				from := c*each + at
				n := min(step, each-at)
				if _, err := r.ReadAt(b[:n], int64(from)); err != nil || !bytes.Equal(b[:n], data[from:from+n]) {
					t.Fatalf("%d streams, at %d: wrong bytes, %v", streams, from, err)
				}
			}
		}
		check(t, r.Close())
		got := count.ByOperation()["GetObject"]
		t.Logf("%d streams: %d requests, %d MiB", streams, got.Requests, got.Received>>20)
		if got.Received > int64(len(data))*3/2 || got.Requests > int64(20+6*streams) {
			t.Errorf("%d streams of %d bytes: %+v", streams, len(data), got)
		}
	}
}

func TestReadAnywhere(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	s := open(t, server.Bucket(t))
	data := randomBytes(9<<20 + 17)
	check(t, write(t, s, "f", data).Commit())
	r, err := s.Open(t.Context(), "f")
	check(t, err)
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(g, 1))
			for range 60 {
				off := random.IntN(len(data) + 10)
				b := make([]byte, random.IntN(1<<random.IntN(22)))
				n, err := r.ReadAt(b, int64(off))
				want := data[min(off, len(data)):min(off+len(b), len(data))]
				if !bytes.Equal(b[:n], want) || (err == nil) != (n == len(b)) || err != nil && !errors.Is(err, io.EOF) {
					t.Errorf("%d bytes at %d: %d, %v", len(b), off, n, err)
				}
			}
		})
	}
	wg.Wait()
}

// A reader never mixes two versions.
func TestReadReplaced(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	s := open(t, server.Bucket(t))
	check(t, write(t, s, "f", randomBytes(1<<20)).Commit())
	r, err := s.Open(t.Context(), "f")
	check(t, err)
	check(t, s.Put(t.Context(), "f", make([]byte, 1<<20)))
	if _, err := r.ReadAt(make([]byte, 10), 0); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("got %v", err)
	}
}

// A piece that the server does not give any more is an error to whoever reads a section of the
// object, however large the piece is: io.ReadFull drops the error of an answer that is full.
func TestReadRefused(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	var refuse atomic.Bool
	proxy := s3test.NewProxy(t, server, func(*http.Request) s3test.Fault {
		if refuse.Load() {
			return s3test.Refuse
		}
		return s3test.None
	})
	s := openThrough(t, server, proxy)
	data := randomBytes(2 << 20)
	check(t, write(t, s, "f", data).Commit())
	r, err := s.Open(t.Context(), "f")
	check(t, err)
	refuse.Store(true)
	for _, size := range []int64{10 << 10, 1 << 20} {
		b := make([]byte, size)
		if n, err := io.ReadFull(io.NewSectionReader(r, 0, size), b); err == nil {
			t.Errorf("%d bytes were read of a server that gives none", n)
		}
	}
}

// More objects than a page lists are listed and removed; what a console makes of a folder is no file.
func TestManyObjects(t *testing.T) {
	t.Parallel()
	server := s3test.Start(t)
	url := server.Bucket(t)
	s := open(t, url)
	const n = 1100
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := g; i < n; i += 8 {
				if err := s.Put(context.WithoutCancel(t.Context()), fmt.Sprintf("many/%05d", i), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	o, err := s3.ParseURL(url)
	check(t, err)
	_, err = server.Client().PutObject(t.Context(), &awss3.PutObjectInput{Bucket: &o.Bucket, Key: aws.String("made/by/console/")})
	check(t, err)
	listed := 0
	for _, err := range s.List(t.Context(), "", true) {
		check(t, err)
		listed++
	}
	if listed != n {
		t.Errorf("listed %d files, want %d", listed, n)
	}
	check(t, s.DeleteAll(t.Context(), ""))
	if dirs, err := s.Dirs(t.Context(), ""); err != nil || len(dirs) > 0 {
		t.Errorf("after DeleteAll: %q, %v", dirs, err)
	}
}
