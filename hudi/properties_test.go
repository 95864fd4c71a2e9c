package hudi

import (
	"maps"
	"testing"
	"time"
)

func TestParseProperties(t *testing.T) {
	text := "#Updated at now\r\n! another comment\n" +
		"a=1\nb : two words \n  c\\:d\\=e = x\\:y\\=z\n" +
		"long=one,\\\n    two\\\\\nempty=\nalone\n" +
		"uni=\\u00e4\\ud83d\\ude00\nlatin=\xe4\nspace=\\ x\n"
	got, err := ParseProperties([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Properties{
		"a": "1", "b": "two words ", "c:d=e": "x:y=z", "long": `one,two\`, "empty": "", "alone": "",
		"uni": "ä😀", "latin": "ä", "space": " x",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestParsePropertiesRefusesBadEscape(t *testing.T) {
	for _, text := range []string{`a=\u12`, `a=\uzzzz`} {
		if p, err := ParseProperties([]byte(text)); err == nil {
			t.Errorf("%s: got %q, want an error", text, p)
		}
	}
}

func TestPropertiesRoundTrip(t *testing.T) {
	p := Properties{
		"hoodie.table.name": "t", "hoodie.table.create.schema": `{"type":"record","fields":[{"name":"ä"}]}`,
		"k e:y": " leading\ttab\nline\\ ü😀", "#x": "!y=",
	}
	got, err := ParseProperties(p.Format(time.Unix(0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(got, p) {
		t.Errorf("got %q, want %q", got, p)
	}
}

// The values are those that Spark wrote into the golden tables.
func TestChecksum(t *testing.T) {
	p := Properties{propName: "v6_0150_cow_none_mdt", propDatabase: "default"}
	if got, want := p.Checksum(), goldenProperties(t, "v6_0150_cow_none_mdt")[propChecksum]; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func FuzzParseProperties(f *testing.F) {
	f.Add([]byte("a=b\\\n c\n#x\nu=\\u00e4"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParseProperties(text)
		if err != nil {
			return
		}
		again, err := ParseProperties(p.Format(time.Unix(0, 0)))
		if err != nil || !maps.Equal(p, again) {
			t.Errorf("%q: parsed %q, formatted and parsed again %q, %v", text, p, again, err)
		}
	})
}
