package pipeline

import (
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"

	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
)

// The partition that each row of a partitioned table is in is kept by record key on the
// local disk: a delete brings only the key. It is a cache, which hudi.IndexGlobalKey holds
// against the table before it is asked. All tables of a pipeline share one folder of it.

// keyFolder is where a pipeline keeps them, apart from other lakes' pipelines of its name.
func (p *Pipeline) keyFolder() string {
	parent := p.opts.IndexDir
	if parent == "" {
		parent = p.opts.SpillDir
	}
	if parent == "" {
		parent = os.TempDir()
		if cache, err := os.UserCacheDir(); err == nil {
			parent = filepath.Join(cache, "lakefeed")
		}
	}
	return filepath.Join(parent, fmt.Sprintf("keys-%s-%08x", p.opts.key(), crc32.ChecksumIEEE([]byte(p.opts.Lake.String()))))
}

// keyStore is where the partitions of a table's keys are kept.
func (p *Pipeline) keyStore(t *target) (hudi.KeyStore, error) {
	p.opening.Lock() // several tables may be opened at once
	defer p.opening.Unlock()
	if p.keys == nil {
		folder := p.keyFolder()
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return nil, fmt.Errorf("make a folder for the partitions of keys (index_dir may name another place): %w", err)
		}
		keys, err := keyindex.OpenDB(folder)
		if err != nil {
			return nil, fmt.Errorf("keep the partitions of keys (index_dir may name another place): %w", err)
		}
		p.keys = keys
	}
	return p.keys.Store(t.path), nil
}

func (p *Pipeline) closeKeys() {
	if p.keys == nil {
		return
	}
	if err := p.keys.Close(); err != nil {
		p.log.Warn("the partitions of keys may have to be read anew", "error", err)
	}
	p.keys = nil
}
