"""Reads all rows of a Hudi table by hudi-rs to Arrow, and prints what that took."""

import json, resource, sys, time

import pyarrow as pa
from hudi import HudiReadOptions, HudiTableBuilder


def cpu():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def peak():
    """MiB; ru_maxrss would begin with what the parent had"""
    with open("/proc/self/status", encoding="utf8") as f:
        return next(int(line.split()[1]) // 1024 for line in f if line.startswith("VmHWM"))


began, start = cpu(), time.time()
table = HudiTableBuilder.from_base_uri(sys.argv[1]).build()
rows = columns = 0
for batch in table.read_stream(HudiReadOptions()):
    batch = pa.record_batch(batch)
    rows, columns = rows + batch.num_rows, batch.num_columns
print(
    json.dumps(
        {
            "rows": rows,
            "columns": columns,
            "cpu": cpu() - began,
            "wall": time.time() - start,
            "mib": peak(),
        }
    )
)
