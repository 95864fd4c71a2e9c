"""Writes the Parquet files beside it, in the forms that other programs have.

    python make.py        # with pyarrow, as scripts/install-interop.sh installs it
"""

import datetime as dt
import decimal
import pyarrow as pa
import pyarrow.parquet as pq

utc = dt.timezone.utc
D = decimal.Decimal


def rows(start, n):
    ids = list(range(start, start + n))
    return pa.table(
        {
            "id": pa.array(ids, pa.int64()),
            "place": pa.array([None if i % 7 == 0 else ["eu", "us", "ap south"][i % 3] for i in ids]),
            "seq": pa.array([i * 10 for i in ids], pa.int32()),
            "d4": pa.array([D(i) / 100 - 1 for i in ids], pa.decimal128(4, 2)),
            "d18": pa.array([D(i) * 1000003 / 1000 for i in ids], pa.decimal128(18, 3)),
            "d38": pa.array([None if i == 3 else D(i) ** 9 for i in ids], pa.decimal128(38, 6)),
            "at": pa.array([dt.datetime(1899, 12, 31, 23, 59, 59, 999999, utc) + dt.timedelta(days=i) for i in ids], pa.timestamp("us", "UTC")),
            "wall": pa.array([dt.datetime(2026, 1, 1) + dt.timedelta(seconds=i) for i in ids], pa.timestamp("ms")),
            "day": pa.array([dt.date(1500, 1, 1) + dt.timedelta(days=i) for i in ids], pa.date32()),
            "clock": pa.array([dt.time(1, 2, i % 60, 3) for i in ids], pa.time64("us")),
            "list": pa.array([None if i == 1 else list(range(i % 4)) for i in ids], pa.list_(pa.int32())),
            "names": pa.array([[("k", i), ("l", None)] for i in ids], pa.map_(pa.string(), pa.int64())),
            "nested": pa.array([None if i == 2 else {"a": i, "b": ["x", None]} for i in ids], pa.struct([("a", pa.int16()), ("b", pa.list_(pa.string()))])),
            "tiny": pa.array([i % 100 for i in ids], pa.uint8()),
            "kind": pa.array(["red" if i % 2 else "green" for i in ids]).dictionary_encode(),
            "id16": pa.array([bytes([i % 256]) * 16 for i in ids], pa.binary(16)),
        }
    )


# decimals as integers, INT96, lists of two levels: what older Spark and Hive write
pq.write_table(rows(0, 30), "legacy.parquet", use_deprecated_int96_timestamps=True, store_decimal_as_integer=True,
               use_compliant_nested_type=False, version="1.0", row_group_size=10)
# the same columns in another order, as pyarrow writes them today, one more and one less
more = rows(30, 20)
more = more.select(list(reversed(more.column_names))).drop_columns(["tiny"]).append_column("extra", pa.array([1.5] * 20))
pq.write_table(more, "today.parquet", compression="zstd")
# keys that came before, later ones
again = rows(5, 3).set_column(2, "seq", pa.array([9999, 1, 9999], pa.int32()))
pq.write_table(again, "again.parquet")
# what a table has no type for, and what would not stay the same
pq.write_table(pa.table({"id": pa.array([1], pa.int64()), "u": pa.array([2**63], pa.uint64())}), "uint64.parquet")
pq.write_table(pa.table({"id": pa.array([1], pa.int64()), "t": pa.array([1], pa.timestamp("ns"))}), "nanos.parquet")
