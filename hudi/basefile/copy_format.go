package basefile

import (
	"github.com/parquet-go/parquet-go/encoding/thrift"
	"github.com/parquet-go/parquet-go/format"
)

// The structures of a Parquet footer, as far as a copy keeps them. The library's own
// cannot tell a count of nulls that is not stated from a count of none.
type (
	parquetMeta struct {
		Version      int32                              `thrift:"1,required"`
		Schema       thrift.Slice[format.SchemaElement] `thrift:"2,required"`
		NumRows      int64                              `thrift:"3,required"`
		RowGroups    thrift.Slice[parquetGroup]         `thrift:"4,required"`
		KeyValues    thrift.Slice[format.KeyValue]      `thrift:"5,optional"`
		CreatedBy    string                             `thrift:"6,optional"`
		ColumnOrders thrift.Slice[format.ColumnOrder]   `thrift:"7,optional"`
		Encryption   format.EncryptionAlgorithm         `thrift:"8,optional"`
	}
	parquetGroup struct {
		Columns             thrift.Slice[parquetChunk] `thrift:"1,required"`
		TotalByteSize       int64                      `thrift:"2,required"`
		NumRows             int64                      `thrift:"3,required"`
		FileOffset          int64                      `thrift:"5,optional"`
		TotalCompressedSize int64                      `thrift:"6,optional"`
		Ordinal             int16                      `thrift:"7,optional,writezero"`
	}
	parquetChunk struct {
		FilePath          string                      `thrift:"1,optional"`
		FileOffset        int64                       `thrift:"2,required"`
		Meta              chunkMeta                   `thrift:"3,optional"`
		OffsetIndexOffset int64                       `thrift:"4,optional"`
		OffsetIndexLength int32                       `thrift:"5,optional"`
		ColumnIndexOffset int64                       `thrift:"6,optional"`
		ColumnIndexLength int32                       `thrift:"7,optional"`
		Crypto            format.ColumnCryptoMetaData `thrift:"8,optional"`
	}
	chunkMeta struct {
		Type                  format.Type                            `thrift:"1,required"`
		Encodings             thrift.Slice[format.Encoding]          `thrift:"2,required"`
		Path                  thrift.Slice[string]                   `thrift:"3,required"`
		Codec                 format.CompressionCodec                `thrift:"4,required"`
		NumValues             int64                                  `thrift:"5,required"`
		TotalUncompressedSize int64                                  `thrift:"6,required"`
		TotalCompressedSize   int64                                  `thrift:"7,required"`
		DataPageOffset        int64                                  `thrift:"9,required"`
		DictionaryPageOffset  int64                                  `thrift:"11,optional"`
		Stats                 thrift.Null[chunkStats]                `thrift:"12,optional"`
		EncodingStats         thrift.Slice[format.PageEncodingStats] `thrift:"13,optional"`
	}
	// chunkStats leaves out what Parquet once had, the bounds in an order of its own.
	chunkStats struct {
		NullCount thrift.Null[int64] `thrift:"3,optional"`
		Max       []byte             `thrift:"5,optional"`
		Min       []byte             `thrift:"6,optional"`
	}
	columnIndex struct {
		NullPages  thrift.Slice[bool]   `thrift:"1,required"`
		Mins       thrift.Slice[[]byte] `thrift:"2,required"`
		Maxs       thrift.Slice[[]byte] `thrift:"3,required"`
		Order      format.BoundaryOrder `thrift:"4,required"`
		NullCounts thrift.Slice[int64]  `thrift:"5,optional"`
	}
	offsetIndex struct {
		Pages thrift.Slice[format.PageLocation] `thrift:"1,required"`
	}
	pageHeader struct {
		Type             format.PageType                          `thrift:"1,required"`
		UncompressedSize int32                                    `thrift:"2,required"`
		CompressedSize   int32                                    `thrift:"3,required"`
		Sum              thrift.Null[int32]                       `thrift:"4,optional"` // CRC-32 of what is behind the header
		Data             thrift.Null[dataHeader]                  `thrift:"5,optional"`
		Dictionary       thrift.Null[format.DictionaryPageHeader] `thrift:"7,optional"`
		DataV2           thrift.Null[dataHeaderV2]                `thrift:"8,optional"`
	}
	dataHeader struct {
		NumValues   int32           `thrift:"1,required"`
		Encoding    format.Encoding `thrift:"2,required"`
		DefEncoding format.Encoding `thrift:"3,required"`
		RepEncoding format.Encoding `thrift:"4,required"`
	}
	dataHeaderV2 struct {
		NumValues  int32             `thrift:"1,required"`
		NumNulls   int32             `thrift:"2,required"`
		NumRows    int32             `thrift:"3,required"`
		Encoding   format.Encoding   `thrift:"4,required"`
		DefBytes   int32             `thrift:"5,required"`
		RepBytes   int32             `thrift:"6,required"`
		Compressed thrift.Null[bool] `thrift:"7,optional"`
	}
)
