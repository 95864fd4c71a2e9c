package s3

import (
	"context"
	"time"

	"golang.org/x/sync/semaphore"
)

// OpenSmall is Open with short pauses, parts of size part and memory for so many bytes of them.
func OpenSmall(ctx context.Context, o Options, part, memory int64) (*Store, error) {
	s, err := open(ctx, o, 5*time.Millisecond)
	if err == nil {
		s.partSize, s.memory = part, semaphore.NewWeighted(memory)
	}
	return s, err
}

// MemoryFree reports whether no part holds any of the memory that OpenSmall gave.
func (s *Store) MemoryFree(memory int64) bool {
	ok := s.memory.TryAcquire(memory)
	if ok {
		s.memory.Release(memory)
	}
	return ok
}
