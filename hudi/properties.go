package hudi

import (
	"bytes"
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"lakefeed/hudi/internal/offset"
)

// Keys of hoodie.properties that this package reads or writes.
const (
	propName           = "hoodie.table.name"
	propDatabase       = "hoodie.database.name"
	propType           = "hoodie.table.type"
	propVersion        = "hoodie.table.version"
	propTimeline       = "hoodie.timeline.path"
	propHistory        = "hoodie.timeline.history.path"
	propLayout         = "hoodie.timeline.layout.version"
	propChecksum       = "hoodie.table.checksum"
	propRecordKey      = "hoodie.table.recordkey.fields"
	propPartition      = "hoodie.table.partition.fields"
	propPrecombine     = "hoodie.table.precombine.field"
	propOrdering       = "hoodie.table.ordering.fields"
	propKeyGenerator   = "hoodie.table.keygenerator.class"
	propKeyGenType     = "hoodie.table.keygenerator.type"
	propHiveStyle      = "hoodie.datasource.write.hive_style_partitioning"
	propURLEncode      = "hoodie.datasource.write.partitionpath.urlencode"
	propDropPartition  = "hoodie.datasource.write.drop.partition.columns"
	propMetaFields     = "hoodie.populate.meta.fields"
	propBaseFormat     = "hoodie.table.base.file.format"
	propPayload        = "hoodie.compaction.payload.class"
	propMergeMode      = "hoodie.record.merge.mode"
	propArchive        = "hoodie.archivelog.folder"
	propTimezone       = "hoodie.table.timeline.timezone"
	propCDC            = "hoodie.table.cdc.enabled"
	propMetafileFormat = "hoodie.partition.metafile.use.base.format"
	propCreateSchema   = "hoodie.table.create.schema"
	propBootstrap      = "hoodie.bootstrap.base.path"
	propMetadata       = "hoodie.table.metadata.partitions"
	propMetadataBusy   = "hoodie.table.metadata.partitions.inflight"
	propKeyEncoding    = "hoodie.write.complex.keygen.new.encoding"
)

const (
	keygenNone    = "org.apache.hudi.keygen.NonpartitionedKeyGenerator"
	keygenSimple  = "org.apache.hudi.keygen.SimpleKeyGenerator"
	keygenComplex = "org.apache.hudi.keygen.ComplexKeyGenerator"
)

// Properties are the entries of a table's hoodie.properties, a Java properties
// file.
type Properties map[string]string

// ParseProperties reads the text of a Java properties file: comments, escapes,
// continued lines and the separators '=', ':' and white space.
func ParseProperties(text []byte) (Properties, error) {
	p := Properties{}
	for i, line := range logicalLines(text) {
		key, value := splitProperty(line.text)
		k, err := unescape(key)
		if err != nil {
			return nil, offset.At(line.at, fmt.Errorf("parse entry %d: %w", i+1, err))
		}
		v, err := unescape(value)
		if err != nil {
			return nil, offset.At(line.at, fmt.Errorf("parse %s: %w", k, err))
		}
		p[k] = v
	}
	return p, nil
}

// Format is the text of p, its keys in order, under the two comment lines that
// Hudi writes.
func (p Properties) Format(now time.Time) []byte {
	var b strings.Builder
	now = now.UTC()
	fmt.Fprintf(&b, "#Updated at %s\n#%s\n", now.Format("2006-01-02T15:04:05.000Z"), now.Format("Mon Jan 02 15:04:05 UTC 2006"))
	for _, k := range slices.Sorted(maps.Keys(p)) {
		b.WriteString(escape(k, true))
		b.WriteByte('=')
		b.WriteString(escape(p[k], false))
		b.WriteByte('\n')
	}
	return []byte(b.String())
}

// Checksum is the value of hoodie.table.checksum that p ought to have: the CRC32 of
// "database.table".
func (p Properties) Checksum() string {
	sum := crc32.ChecksumIEEE([]byte(p[propDatabase] + "." + p[propName]))
	return strconv.FormatUint(uint64(sum), 10)
}

// list is a comma-separated value without its empty parts.
func (p Properties) list(key string) []string {
	var out []string
	for f := range strings.SplitSeq(p[key], ",") {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

// logicalLine is a line that holds an entry, continuations joined, and where it begins.
type logicalLine struct {
	at   int64
	text string
}

func logicalLines(text []byte) []logicalLine {
	var lines []logicalLine
	var open logicalLine
	continued, next := false, int64(0)
	for raw := range bytes.SplitSeq(text, []byte{'\n'}) {
		at := next
		next += int64(len(raw)) + 1
		// The file is ISO-8859-1: each byte is a character.
		line := strings.TrimLeft(latin1(bytes.TrimSuffix(raw, []byte{'\r'})), " \t\f\r")
		if !continued && (line == "" || line[0] == '#' || line[0] == '!') {
			continue
		}
		line = strings.TrimSuffix(line, "\r")
		if !continued {
			open.at = at
		}
		if slashes := len(line) - len(strings.TrimRight(line, `\`)); slashes%2 == 1 {
			open.text, continued = open.text+line[:len(line)-1], true
			continue
		}
		lines = append(lines, logicalLine{open.at, open.text + line})
		open, continued = logicalLine{}, false
	}
	if continued && open.text != "" {
		lines = append(lines, open)
	}
	return lines
}

func latin1(text []byte) string {
	var b strings.Builder
	for _, c := range text {
		b.WriteRune(rune(c))
	}
	return b.String()
}

// splitProperty cuts a line at its first separator that is not escaped.
func splitProperty(line string) (key, value string) {
	i := 0
	for ; i < len(line); i++ {
		if line[i] == '\\' {
			i++
		} else if strings.IndexByte("=: \t\f", line[i]) >= 0 {
			break
		}
	}
	if i >= len(line) {
		return line, ""
	}
	key, value = line[:i], strings.TrimLeft(line[i:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	return key, value
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var units []uint16
	for i := 0; i < len(s); {
		c := s[i]
		if c != '\\' {
			r, n := utf8.DecodeRuneInString(s[i:])
			units = utf16.AppendRune(units, r)
			i += n
			continue
		}
		if i+1 >= len(s) {
			break // a lone backslash at the end is dropped, as Java does
		}
		i += 2
		switch c := s[i-1]; c {
		case 'n':
			units = append(units, '\n')
		case 't':
			units = append(units, '\t')
		case 'r':
			units = append(units, '\r')
		case 'f':
			units = append(units, '\f')
		case 'u':
			if i+4 > len(s) {
				return "", fmt.Errorf("short escape %q", s[i-2:])
			}
			u, err := strconv.ParseUint(s[i:i+4], 16, 16)
			if err != nil {
				return "", fmt.Errorf("bad escape %q", s[i-2:i+4])
			}
			units = append(units, uint16(u))
			i += 4
		default:
			r, n := utf8.DecodeRuneInString(s[i-1:])
			units = utf16.AppendRune(units, r)
			i += n - 1
		}
	}
	return string(utf16.Decode(units)), nil
}

// escape writes s as Java's Properties.store does.
func escape(s string, key bool) string {
	var b strings.Builder
	for i, u := range utf16.Encode([]rune(s)) {
		switch {
		case u == ' ' && (key || i == 0):
			b.WriteString(`\ `)
		case u == '\t':
			b.WriteString(`\t`)
		case u == '\n':
			b.WriteString(`\n`)
		case u == '\r':
			b.WriteString(`\r`)
		case u == '\f':
			b.WriteString(`\f`)
		case strings.ContainsRune(`=:#!\`, rune(u)):
			b.WriteByte('\\')
			b.WriteByte(byte(u))
		case u < 0x20 || u > 0x7e:
			fmt.Fprintf(&b, `\u%04X`, u)
		default:
			b.WriteByte(byte(u))
		}
	}
	return b.String()
}

// ordering is the column that orders changes, "" if the table has none.
func (p Properties) ordering() string {
	if f := p[propPrecombine]; f != "" {
		return f
	}
	if f := p.list(propOrdering); len(f) == 1 {
		return f[0]
	}
	return ""
}

// check refuses tables that this package cannot read right.
func (p Properties) check() error {
	for _, k := range []string{propName, propType, propVersion} {
		if p[k] == "" {
			return &CorruptError{propertiesFile, fmt.Errorf("%s is missing", k)}
		}
	}
	if sum := p[propChecksum]; sum != "" && sum != p.Checksum() {
		return &CorruptError{propertiesFile, fmt.Errorf("%s is %s, want %s", propChecksum, sum, p.Checksum())}
	}
	if typ := TableType(p[propType]); typ != CopyOnWrite && typ != MergeOnRead {
		return &CorruptError{propertiesFile, fmt.Errorf("%s is %q: it should say %s or %s", propType, p[propType], CopyOnWrite, MergeOnRead)}
	}
	if err := p.checkVersion(); err != nil {
		return err
	}
	if f := p[propBaseFormat]; f != "" && !strings.EqualFold(f, "PARQUET") {
		return &UnsupportedError{"base file format", f, "only Parquet is known here"}
	}
	if _, err := p.mergeRule(); err != nil {
		return err
	}
	if b := p[propBootstrap]; b != "" {
		return &UnsupportedError{"bootstrap base", b, "rows that stand outside of the table are not read here"}
	}
	if v := p[propDropPartition]; strings.EqualFold(v, "true") {
		return &UnsupportedError{propDropPartition, v, "the files lack the partition columns, and what Spark made of their values in the folders' names is not known here"}
	}
	return nil
}

// checkWritable refuses tables to which this package can write no rows.
func (p Properties) checkWritable() error {
	if err := p.checkServable(); err != nil {
		return err
	}
	return p.checkMerging()
}

// checkMerging refuses tables of whose records another than the one written later may count.
func (p Properties) checkMerging() error {
	if rule, err := p.mergeRule(); err != nil || !rule.latestWins() {
		return cmp.Or(err, error(&UnsupportedError{"merging", cmp.Or(p[propPayload], p[propMergeMode]), "this writer's later change counts, whatever its ordering value; reads and table services do as the table says, and go on. " +
			"To have rows written, make the table in Spark with hoodie.datasource.write.payload.class=" + payloadOverwrite}))
	}
	return nil
}

// checkServable refuses tables that this package can only read. Table services take rows
// as a read merges them, so that any way of merging that can be read will do.
func (p Properties) checkServable() error {
	if err := p.checkVersionWritable(); err != nil {
		return err
	}
	if err := p.checkKeyGenerator(); err != nil {
		return err
	}
	for key, bad := range map[string]string{propCDC: "true", propMetaFields: "false"} {
		if v := p[key]; strings.EqualFold(v, bad) {
			return &UnsupportedError{key, v, "such a table is only read here"}
		}
	}
	return nil
}

// keyGenerator is Hudi's class that makes record keys and partition paths of these
// columns.
func keyGenerator(key, partitionBy []string) string {
	switch {
	case len(partitionBy) == 0:
		return keygenNone
	case len(key) == 1 && len(partitionBy) == 1:
		return keygenSimple
	}
	return keygenComplex
}

// keyGeneratorTypes are the types by which newer tables name these classes.
var keyGeneratorTypes = map[string]string{"NON_PARTITION": keygenNone, "SIMPLE": keygenSimple, "COMPLEX": keygenComplex}

// keyGenerator is the class that makes keys and partition paths, or its type where that
// stands for none of ours; "" where the table does not say.
func (p Properties) keyGenerator() string {
	if typ := p[propKeyGenType]; p[propKeyGenerator] == "" && typ != "" {
		return cmp.Or(keyGeneratorTypes[typ], typ)
	}
	return p[propKeyGenerator]
}

// checkKeyGenerator refuses to write tables whose keys or partition paths are made in
// another way than ours.
func (p Properties) checkKeyGenerator() error {
	class := p.keyGenerator()
	key, partitionBy := p.list(propRecordKey), p.list(propPartition)
	switch {
	case strings.EqualFold(p[propMetafileFormat], "true"):
		return &UnsupportedError{propMetafileFormat, "true", "this writer marks partitions by text files"}
	case class == "" || class == keyGenerator(key, partitionBy) && (class != keygenComplex || len(key) > 1 || strings.EqualFold(p[propKeyEncoding], "true")):
		return nil
	case class == keygenSimple && len(key) == 1 && len(partitionBy) == 0, class == keygenComplex && len(key) > 1:
		return nil
	case class == keygenComplex:
		return &UnsupportedError{"key generator", class, "with one key column its releases do not agree on the keys"}
	}
	return &UnsupportedError{"key generator", class, "this writer makes keys and partition paths as Hudi's Simple, Complex and Nonpartitioned ones do"}
}

// partitioning is how the table's rows are laid into folders.
func (p Properties) partitioning() partitioning {
	var fields []string
	for _, f := range p.list(propPartition) {
		name, _, _ := strings.Cut(f, ":") // version 8 and 9 may name the kind of its key generator behind it
		fields = append(fields, name)
	}
	return partitioning{fields, strings.EqualFold(p[propHiveStyle], "true"), strings.EqualFold(p[propURLEncode], "true")}
}
