package timeline

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/twmb/avro"
	"github.com/twmb/avro/ocf"

	"lakefeed/hudi/internal/offset"
)

// avscFiles are Hudi's schemas of the records, from Hudi 1.2.
//
//go:embed avsc/*.avsc
var avscFiles embed.FS

// avroMagic begins an Avro object container.
const avroMagic = "Obj\x01"

// record is one of Hudi's Avro records, whose values in Go are of type T. A timeline file
// is an Avro object container with exactly one, not compressed.
type record[T any] struct {
	what   string
	schema func() *avro.Schema
}

func newRecord[T any](what, name string) record[T] {
	return record[T]{what, sync.OnceValue(func() *avro.Schema {
		text, err := avscFiles.ReadFile("avsc/" + name + ".avsc")
		if err != nil {
			panic(err) // not part of the program
		}
		var compact bytes.Buffer // every file has the schema's text
		if err := json.Compact(&compact, text); err != nil {
			panic(err)
		}
		return avro.MustParse(compact.String())
	})}
}

func (r record[T]) encode(v *T) ([]byte, error) {
	data, err := encodeOne(r.schema(), v)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", r.what, err)
	}
	return data, nil
}

func encodeOne(schema *avro.Schema, v any) ([]byte, error) {
	var buf bytes.Buffer
	w, err := ocf.NewWriter(&buf, schema)
	if err != nil {
		return nil, err
	}
	if err := w.Encode(v); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// decode reads data, which may be written with an older or newer schema than ours.
func (r record[T]) decode(data []byte) (*T, error) {
	v := new(T)
	if err := decodeOne(data, v, ocf.WithReaderSchema(r.schema())); err != nil {
		return nil, fmt.Errorf("decode %s: %w", r.what, err)
	}
	return v, nil
}

// decodeOne reads the first record of a file.
func decodeOne(data []byte, v any, schema ocf.ReaderOpt) error {
	if err := decodeFirst(data, v, schema); err != nil {
		return offset.At(headerEnd(data), err)
	}
	return nil
}

// headerEnd is where the first block of a container lies, or as far as its header makes sense.
func headerEnd(data []byte) int64 {
	r := bytes.NewReader(data)
	if rd, err := ocf.NewReader(single{r}); err == nil {
		_ = rd.Close()
	}
	return int64(len(data) - r.Len())
}

// single reads one byte at a time, so that what reads it is never further than it must be.
type single struct{ r io.Reader }

func (s single) Read(p []byte) (int, error) {
	return s.r.Read(p[:min(1, len(p))]) //nolint:wrapcheck // that of bytes
}

func decodeFirst(data []byte, v any, schema ocf.ReaderOpt) error {
	rd, err := ocf.NewReader(bytes.NewReader(data), schema)
	if err != nil {
		return err
	}
	defer func() { _ = rd.Close() }()
	if err := rd.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("file has no record")
		}
		return err
	}
	return nil
}

// orEmpty is a map that Hudi does not take as null.
func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

// orNone is a list that Hudi does not take as null.
func orNone[V any](list []V) []V {
	if list == nil {
		return []V{}
	}
	return list
}

// orVersion is a record's version, or the one that Hudi writes today.
func orVersion(version, today int32) int32 {
	if version == 0 {
		return today
	}
	return version
}
