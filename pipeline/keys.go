package pipeline

import (
	"fmt"
	"hash/crc32"
	"os"

	"lakefeed/hudi"
	"lakefeed/hudi/keyindex"
	"lakefeed/storage"
)

// The partition that each row of a partitioned table is in is kept by record key on the
// local disk: a delete brings only the key. It is a cache, which hudi.IndexGlobalKey holds
// against the table before it is asked. All tables of a pipeline share one folder of it.

func keyFolderName(name string, lake storage.Store) string {
	return fmt.Sprintf("keys-%s-%08x", name, crc32.ChecksumIEEE([]byte(lake.String())))
}

func openKeys(folder string) (*keyindex.DB, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder for the partitions of keys (index_dir may name another place): %w", err)
	}
	keys, err := keyindex.OpenDB(folder)
	if err != nil {
		return nil, fmt.Errorf("keep the partitions of keys (index_dir may name another place): %w", err)
	}
	return keys, nil
}

// keyStore is where the partitions of a table's keys are kept.
func (p *Pipeline) keyStore(t *target) (hudi.KeyStore, error) {
	if p.opts.Shards != nil {
		return p.opts.Shards.keyStore(t.path)
	}
	p.opening.Lock() // several tables may be opened at once
	defer p.opening.Unlock()
	if p.keys == nil {
		keys, err := openKeys(keyFolder(p.opts.IndexDir, p.opts.SpillDir, p.opts.key(), p.opts.Lake))
		if err != nil {
			return nil, err
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
