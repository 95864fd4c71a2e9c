"""Reads pairs of Parquet files, one spliced and one written in one go, with pyarrow and
DuckDB: same rows, and the same rows where statistics prune. pyarrow compares pages with their checksums.

usage: base_readers.py FOLDER, which holds N.spliced.parquet and N.plain.parquet
"""
import pathlib
import random
import sys

import duckdb
import pyarrow
import pyarrow.parquet as pq

KEY = "_hoodie_record_key"


def rows(table):
    return sorted(table.to_pylist(), key=lambda r: r[KEY])


def literal(value):
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)


def damaged(path):
    """A value that is another one, and a page that pyarrow still decodes: it says so by our checksum."""
    data = bytearray(pathlib.Path(path).read_bytes())
    meta = pq.read_metadata(path).row_group(0)
    at = next(i for i in range(meta.num_columns) if meta.column(i).path_in_schema == KEY)
    column = meta.column(at)
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1
    try:
        pq.read_table(pyarrow.BufferReader(bytes(data)), columns=[KEY], page_checksum_verification=True)
    except OSError as e:
        return None if "CRC checksum" in str(e) else f"pyarrow says of a damaged page: {e}"
    return "pyarrow does not see a checksum"


def compare(spliced, plain, rnd):
    want = rows(pq.read_table(plain))
    if repr(rows(pq.read_table(spliced, page_checksum_verification=True))) != repr(want):
        return "pyarrow reads other rows"
    wrong = damaged(spliced)
    if wrong:
        return wrong
    select = "select * from read_parquet('%s') order by " + KEY
    both = [duckdb.sql(select % f).fetchall() for f in (spliced, plain)]
    if repr(both[0]) != repr(both[1]):
        return "DuckDB reads other rows"
    for column in ("_hoodie_commit_time", KEY, "id", "i", "s", "price", "d", "day"):
        for op in ("=", "<", ">=", "is null"):
            values = [r[column] for r in want if r[column] is not None and r[column] == r[column]]
            if not values:
                continue
            v = rnd.choice(values)
            text = f"{column} is null" if op == "is null" else f"{column} {op} ?"
            counts = []
            for f in (spliced, plain):
                q = f"select count(*), count({column}) from (select * from read_parquet('{f}') where {text})"
                counts.append(duckdb.execute(q, [] if op == "is null" else [v]).fetchall())
            if counts[0] != counts[1]:
                return f"DuckDB: {text} with {v}: {counts}"
            if op == "is null":
                continue
            name = {"=": "==", "<": "<", ">=": ">="}[op]
            n = pq.read_table(spliced, filters=[(column, name, v)]).num_rows
            m = pq.read_table(plain, filters=[(column, name, v)]).num_rows
            if n != m:
                return f"pyarrow: {column} {op} {v}: {n} rows, not {m}"
    return None


def main():
    rnd = random.Random(4)
    folder = pathlib.Path(sys.argv[1])
    files = sorted(folder.glob("*.spliced.parquet"))
    for f in files:
        wrong = compare(str(f), str(f).replace(".spliced.", ".plain."), rnd)
        if wrong:
            sys.exit(f"{f.name}: {wrong}")
    print(len(files), "files")


main()
