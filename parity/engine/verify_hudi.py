#!/usr/bin/env python3
"""Interop verifier for Hudi tables: reads (and continues) a table with Spark+Hudi and with hudi-rs.

  verify_hudi.py [--hudi 1.2.0] read  TABLE [--mode snapshot|read_optimized|as_of|incremental] [--as-of T] [--begin T] [--end T]
                                            [--engine spark|rs] [--no-meta] [--mdt true|false] [--out FILE]
  verify_hudi.py [--hudi V] check TABLE [--expect snapshot.jsonl] [--no-rs]     every reader, cross-compared; exit 1 on a mismatch
  verify_hudi.py [--hudi V] write TABLE --rows FILE.jsonl|FILE.parquet --op upsert|insert|bulk_insert|delete [--opt k=v]...
  verify_hudi.py [--hudi V] service TABLE compact|cluster|clean|archive|schedule_compact|validate_mdt [--opt k=v]...
  verify_hudi.py [--hudi V] sql "SELECT/CALL ... {t} ..." TABLE         ({t} = table registered in the Spark catalog)
  verify_hudi.py [--hudi V] continue TABLE --rows FILE [--opt k=v]      write upsert -> read -> compact(MoR) -> clean -> read (snapshot must equal)
  verify_hudi.py [--hudi V] serve          JSON job per stdin line {"cmd":"read","table":..,..} -> JSON result per stdout line;
                                           ends with its stdin; Spark starts with the first job that needs it
Rows are printed as canonical sorted JSONL: decimal -> string, timestamp -> UTC ISO micros, date -> ISO, binary -> base64,
NaN/Inf -> string; keys in the order of the schema; sorted by (partition path, record key, line).
"""

# Black keeps the layout: black -l 120 parity/engine
import argparse, base64, contextlib, datetime as dt, decimal, json, math, os, sys, time, uuid

BASE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, BASE)
META = [
    "_hoodie_commit_time",
    "_hoodie_commit_seqno",
    "_hoodie_record_key",
    "_hoodie_partition_path",
    "_hoodie_file_name",
]


# ---------- canonical rows ----------
def canon(v):
    if v is None:
        return None
    if isinstance(v, bool):
        return v
    if isinstance(v, decimal.Decimal):
        return format(v, "f")
    if isinstance(v, dt.datetime):
        if v.tzinfo:
            v = v.astimezone(dt.timezone.utc).replace(tzinfo=None)
        return v.isoformat(timespec="microseconds")
    if isinstance(v, dt.date):
        return v.isoformat()
    if isinstance(v, (bytes, bytearray, memoryview)):
        return base64.b64encode(bytes(v)).decode()
    if isinstance(v, float):
        return v if math.isfinite(v) else str(v)
    if isinstance(v, dict):
        return {str(k): canon(x) for k, x in v.items()}
    if isinstance(v, (list, tuple)):
        return {k: canon(x) for k, x in v.asDict().items()} if hasattr(v, "asDict") else [canon(x) for x in v]
    return v


def lines(rows, no_meta=False):
    out = []
    for r in rows:
        d = {k: canon(v) for k, v in r.items() if not (no_meta and k in META)}
        out.append(
            (
                (r.get("_hoodie_partition_path") or ""),
                (r.get("_hoodie_record_key") or ""),
                json.dumps(d, ensure_ascii=False),
            )
        )
    return [x[2] for x in sorted(out)]


# ---------- engines ----------
_spark = {}


def spark(hudi="1.2.0", mem="2g"):
    if "s" not in _spark:
        os.environ["TZ"] = "UTC"
        time.tzset()
        from sp import get_spark

        _spark["s"] = get_spark(
            hudi=hudi,
            mem=mem,
            extra={"spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Duser.timezone=UTC"},
        )
        _spark["hudi"] = hudi
    for k, v in _spark.get("s3", {}).items():
        _spark["s"].sparkContext._jsc.hadoopConfiguration().set(k, v)
    return _spark["s"]


def use_bucket(s3):
    """makes a bucket's server known: to hudi-rs by the environment, to Spark by Hadoop's configuration"""
    os.environ.update(
        AWS_ENDPOINT_URL=s3["endpoint"],
        AWS_ALLOW_HTTP="true",
        AWS_REGION=s3["region"],
        AWS_ACCESS_KEY_ID=s3["access_key"],
        AWS_SECRET_ACCESS_KEY=s3["secret_key"],
    )
    _spark["s3"] = {
        "fs.s3a.endpoint": s3["endpoint"],
        "fs.s3a.endpoint.region": s3["region"],
        "fs.s3a.access.key": s3["access_key"],
        "fs.s3a.secret.key": s3["secret_key"],
        "fs.s3a.path.style.access": "true",
        "fs.s3a.connection.ssl.enabled": "false",
        "fs.s3a.impl.disable.cache": "true",  # the next server may have buckets of the same names
        "fs.s3a.directory.marker.retention": "keep",  # their removal is an error where folders are real ones
    }


def props(t):
    if "://" in t:  # the job's options have to say it
        return {}
    d = {}
    for l in open(os.path.join(t.replace("file://", ""), ".hoodie/hoodie.properties"), encoding="utf8"):
        if "=" in l and not l.startswith("#"):
            k, v = l.rstrip("\n").split("=", 1)
            d[k] = v.replace("\\:", ":").replace("\\=", "=")
    return d


def timeline(t):
    if "://" in t:
        return []
    """completed instants [(requested, completed|None, action)] read from file names only (both layouts)"""
    h = os.path.join(t, ".hoodie")
    tl = os.path.join(h, "timeline")
    d = tl if os.path.isdir(tl) else h
    out = []
    for f in sorted(os.listdir(d)):
        if f.startswith(".") or not f[:1].isdigit():
            continue
        a = f.split(".", 1)
        if len(a) < 2 or a[1].endswith(("requested", "inflight")):
            continue
        req, _, comp = a[0].partition("_")
        out.append((req, comp or None, a[1]))
    return out


def sread(s, t, mode="snapshot", as_of=None, begin=None, end=None, mdt=None, opts=None):
    r = s.read.format("hudi")
    if mode in ("snapshot", "read_optimized", "incremental"):
        r = r.option("hoodie.datasource.query.type", mode)
    if mode == "as_of" or as_of:
        r = r.option("as.of.instant", as_of)
    if mode == "incremental":
        r = r.option("hoodie.datasource.read.begin.instanttime", begin or "000")
        if end:
            r = r.option("hoodie.datasource.read.end.instanttime", end)
    if mdt is not None:
        r = r.option("hoodie.metadata.enable", str(mdt).lower())
    for k, v in (opts or {}).items():
        r = r.option(k, v)
    return r.load(t)


def spark_rows(*a, where=None, list_all=False, **k):
    if list_all:
        k["opts"] = {"hoodie.datasource.read.file.index.listing.mode": "eager"}
    df = sread(*a, **k)
    if where:
        df = df.filter("`%s` %s '%s'" % tuple(where))
    return [r.asDict() for r in df.collect()]


def rs_rows(t, mode="snapshot", as_of=None, begin=None, end=None, opts=None, where=None, **_):
    from hudi import HudiTableBuilder, HudiReadOptions, HudiQueryType
    import pyarrow as pa

    tb = HudiTableBuilder.from_base_uri(t)
    if opts:
        tb = tb.with_hudi_options(opts)
    tab = tb.build()
    o = HudiReadOptions()
    if where:
        o = o.with_filters([tuple(where)])
    if mode == "read_optimized":
        o = o.with_hudi_option("hoodie.read.use.read_optimized.mode", "true")
    if mode == "as_of":
        o = o.with_as_of_timestamp(as_of)
    if mode == "incremental":
        o = o.with_query_type(HudiQueryType.Incremental).with_start_timestamp(begin or "19700101000000000")
        if end:
            o = o.with_end_timestamp(end)
    b = tab.read(o)
    b = b if isinstance(b, (list, tuple)) else [b]
    rows = []
    for x in b:
        rows += pa.record_batch(x).to_pylist(maps_as_pydicts="strict")
    return rows


def reg(s, t):
    n = "t_" + uuid.uuid5(uuid.NAMESPACE_URL, t).hex[:12]
    s.sql(f"CREATE TABLE IF NOT EXISTS {n} USING hudi LOCATION '{t}'")
    return n


# ---------- commands ----------
def cmd_read(a):
    mode = a.get("mode") or ("as_of" if a.get("as_of") else "incremental" if a.get("begin") else "snapshot")
    kw = {k: a.get(k) for k in ("as_of", "begin", "end", "where")}
    if a.get("engine") == "rs":
        rows = rs_rows(a["table"], mode, **kw)
    else:
        rows = spark_rows(spark(a["hudi"]), a["table"], mode, mdt=a.get("mdt"), list_all=a.get("list_all"), **kw)
    return lines(rows, a.get("no_meta"))


def short(e):
    m = [x.strip() for x in str(e).strip().split("\n")]
    c = [x[:300] for x in m if x.startswith("Caused by")][-1:]
    return (
        type(e).__name__
        + ": "
        + " | ".join(x for x in m[:4] if not x.startswith("An error occurred while calling"))[:500]
        + (" || root: " + c[0] if c else "")
    )


def cmd_check(a):
    # on a copy: registering a table in the Spark catalog (needed by CALL) REWRITES hoodie.properties (adds create.schema, database.name)
    import shutil, tempfile

    src = a["table"]
    tmp = tempfile.mkdtemp(prefix="verify_hudi_")
    t = os.path.join(tmp, os.path.basename(src))
    shutil.copytree(src, t)
    try:
        return dict(check_(a, t), table=src)
    finally:
        shutil.rmtree(tmp, ignore_errors=True)


def check_(a, t):
    s = spark(a["hudi"])
    p = props(t)
    tl = timeline(t)
    res, bad = [], []
    mor = p["hoodie.table.type"] == "MERGE_ON_READ"
    commits = [x for x in tl if x[2] in ("commit", "deltacommit", "replacecommit")]

    def step(name, fn):
        t0 = time.time()
        try:
            v = fn()
        except Exception as e:
            v = e
        d = {"step": name, "s": round(time.time() - t0, 2)}
        if isinstance(v, Exception):
            d["error"] = short(v)
        elif isinstance(v, list):
            d["rows"] = len(v)
        else:
            d["v"] = v
        res.append(d)
        return v

    def same(n, x, y):  # column ORDER is not compared: Spark moves partition columns to the end, hudi-rs does not
        x, y = (
            sorted(json.dumps(json.loads(l), sort_keys=True) for l in z) if isinstance(z, list) else z for z in (x, y)
        )
        if isinstance(x, Exception) or isinstance(y, Exception):
            bad.append(f"{n}: error")
            return
        if x != y:
            sx, sy = set(x), set(y)
            bad.append(f"{n}: {len(x)} vs {len(y)} rows; only-left {sorted(sx-sy)[:1]} only-right {sorted(sy-sx)[:1]}")

    L = lambda rows: lines(rows)
    snap = step("spark snapshot", lambda: L(spark_rows(s, t)))
    same("mdt off", snap, step("spark snapshot mdt=false", lambda: L(spark_rows(s, t, mdt=False))))
    if p.get("hoodie.table.metadata.partitions"):
        same("mdt on", snap, step("spark snapshot mdt=true", lambda: L(spark_rows(s, t, mdt=True))))
    n = step("spark count(*)", lambda: sread(s, t).count())
    if not isinstance(snap, Exception) and n != len(snap):
        bad.append(f"count(*) {n} != rows {len(snap)}")
    same(
        "filegroup reader off",
        snap,
        step(
            "spark vectorized off",
            lambda: (
                s.conf.set("spark.sql.parquet.enableVectorizedReader", "false"),
                L(spark_rows(s, t)),
                s.conf.set("spark.sql.parquet.enableVectorizedReader", "true"),
            )[1],
        ),
    )
    ro = step("spark read_optimized", lambda: L(spark_rows(s, t, "read_optimized"))) if mor else None
    for c in commits:
        step(f"spark as_of {c[0]} ({c[2]})", lambda: L(spark_rows(s, t, "as_of", as_of=c[0])))
    inc = step("spark incremental from 000", lambda: L(spark_rows(s, t, "incremental", begin="000")))
    if len(commits) > 1:
        step(
            "spark incremental last", lambda: L(spark_rows(s, t, "incremental", begin=commits[-2][1] or commits[-2][0]))
        )
    step("CALL show_commits", lambda: len(s.sql(f"CALL show_commits(table => '{reg(s,t)}', limit => 1000)").collect()))
    if p.get("hoodie.table.metadata.partitions"):
        step(
            "CALL validate_metadata_table_files",
            lambda: [r.asDict() for r in s.sql(f"CALL validate_metadata_table_files(table => '{reg(s,t)}')").collect()],
        )
    if not a.get("no_rs"):
        rs = step("hudi-rs snapshot", lambda: L(rs_rows(t)))
        same("hudi-rs vs spark", snap, rs)
        if mor:
            same("hudi-rs ro vs spark ro", ro, step("hudi-rs read_optimized", lambda: L(rs_rows(t, "read_optimized"))))
        for c in commits[-2:]:
            step(f"hudi-rs as_of {c[0]}", lambda: L(rs_rows(t, "as_of", as_of=c[0])))
        step("hudi-rs incremental from 0", lambda: L(rs_rows(t, "incremental")))
    if a.get("expect"):
        same("expected", snap, sorted_lines(a["expect"]))
    return {
        "table": t,
        "version": p.get("hoodie.table.version"),
        "type": p["hoodie.table.type"],
        "steps": res,
        "mismatches": bad,
        "ok": not bad,
    }


def sorted_lines(f):
    import gzip

    return [
        l.rstrip("\n") for l in (gzip.open(f, "rt", encoding="utf8") if f.endswith(".gz") else open(f, encoding="utf8"))
    ]


def load_rows(s, t, f, schema=None):
    if f.endswith(".parquet"):
        return s.read.parquet(f)
    from pyspark.sql import functions as F, types as T

    # JSONL in the canonical form -> table schema (missing columns become null)
    sch = T._parse_datatype_string(schema) if schema else sread(s, t).drop(*META).schema
    raw = s.createDataFrame([(l,) for l in sorted_lines(f)], "j string")
    st = T.StructType(
        [
            T.StructField(
                x.name,
                (
                    T.StringType()
                    if isinstance(x.dataType, (T.DecimalType, T.TimestampType, T.DateType, T.BinaryType))
                    else x.dataType
                ),
            )
            for x in sch
        ]
    )
    d = raw.select(F.from_json("j", st).alias("r")).select("r.*")
    for x in sch:
        c = F.col(x.name)
        if isinstance(x.dataType, T.BinaryType):
            d = d.withColumn(x.name, F.unbase64(c))
        elif isinstance(x.dataType, (T.DecimalType, T.TimestampType, T.DateType)):
            d = d.withColumn(x.name, c.cast(x.dataType))
    return d.select([x.name for x in sch])


def wopts(t, op, extra=None):
    """only what a stranger's table does not already say itself in hoodie.properties"""
    p = props(t)
    o = {
        "hoodie.table.name": p["hoodie.table.name"],
        "hoodie.datasource.write.operation": op,
        "hoodie.datasource.write.recordkey.field": p.get("hoodie.table.recordkey.fields", ""),
        "hoodie.write.table.version": p["hoodie.table.version"],
        "hoodie.write.auto.upgrade": "false",
        "hoodie.datasource.write.table.type": p["hoodie.table.type"],
        "hoodie.metadata.enable": "true" if p.get("hoodie.table.metadata.partitions") else "false",
        "hoodie.upsert.shuffle.parallelism": "2",
        "hoodie.compact.inline": "false",
        "hoodie.clean.automatic": "false",
    }
    ord_ = p.get("hoodie.table.ordering.fields") or p.get("hoodie.table.precombine.field")
    if ord_:
        o["hoodie.datasource.write.precombine.field"] = ord_
    pf = p.get("hoodie.table.partition.fields")
    if pf:
        o["hoodie.datasource.write.partitionpath.field"] = pf
    if p.get("hoodie.datasource.write.hive_style_partitioning"):
        o["hoodie.datasource.write.hive_style_partitioning"] = p["hoodie.datasource.write.hive_style_partitioning"]
    if not o["hoodie.datasource.write.recordkey.field"]:
        del o["hoodie.datasource.write.recordkey.field"]
    o.update(extra or {})
    return o


def cmd_write(a):
    s = spark(a["hudi"])
    t = a["table"]
    df = load_rows(s, t, a["rows"], a.get("schema"))
    op = a.get("op") or "upsert"
    opt = a.get("opt") or {}
    if "hoodie.write.lock.provider" in opt:
        stand_ins(s, a["hudi"])
    if a.get("schema"):  # a table that is not there yet
        o = {"hoodie.datasource.write.operation": op, **opt}
    elif a.get("exact"):  # what hoodie.properties says is for Hudi itself to find
        o = {"hoodie.table.name": props(t).get("hoodie.table.name"), "hoodie.datasource.write.operation": op, **opt}
    else:
        o = wopts(t, op, opt)
    with settings(s, a, o):
        df.write.format("hudi").options(**{k: v for k, v in o.items() if v != ""}).mode("append").save(t)
    return {"rows": len(sorted_lines(a["rows"])) if a["rows"].endswith(".jsonl") else df.count()}


@contextlib.contextmanager
def settings(s, a, o):
    """what holds for a job alone: Spark's settings for Hadoop, taken out of the options, and the JVM's time zone"""
    jvm, hadoop = s._jvm, s.sparkContext._jsc.hadoopConfiguration()
    mine = {k.removeprefix("spark.hadoop."): o.pop(k) for k in list(o) if k.startswith("spark.hadoop.")}
    zone = jvm.java.util.TimeZone.getDefault()
    for k, v in mine.items():
        hadoop.set(k, v)
    if a.get("zone"):
        jvm.java.util.TimeZone.setDefault(jvm.java.util.TimeZone.getTimeZone(a["zone"]))
    try:
        yield
    finally:
        jvm.java.util.TimeZone.setDefault(zone)
        for k in mine:
            hadoop.unset(k)


def cmd_service(a):
    s = spark(a["hudi"])
    t = a["table"]
    o = dict(a.get("opt") or {})
    p = props(t)
    o.setdefault("hoodie.write.table.version", p["hoodie.table.version"]) if a["hudi"] >= "1" else None
    o.setdefault("hoodie.metadata.enable", "true" if p.get("hoodie.table.metadata.partitions") else "false")
    if a["hudi"] >= "1":
        o.setdefault("hoodie.write.auto.upgrade", "false")
    os_ = ",".join(f"{k}={v}" for k, v in o.items())
    before = {x[0] for x in timeline(t)}
    t0 = time.time()
    w = a["what"]
    q = {
        "compact": [
            f"CALL run_compaction(op => 'schedule', path => '{t}', options => '{os_}')",
            f"CALL run_compaction(op => 'run', path => '{t}', options => '{os_}')",
        ],
        "schedule_compact": [f"CALL run_compaction(op => 'schedule', path => '{t}', options => '{os_}')"],
        "cluster": [f"CALL run_clustering(path => '{t}', options => '{os_}')"],
        "clean": [f"CALL run_clean(table => '{reg(s, t)}', retain_commits => 1, options => '{os_}')"],
        "archive": [f"CALL archive_commits(path => '{t}', min_commits => 2, max_commits => 3, retain_commits => 1)"],
        "validate_mdt": [f"CALL validate_metadata_table_files(table => '{reg(s, t)}')"],
    }[w]
    out = []
    for x in q:
        out += [{k: canon(v) for k, v in r.asDict().items()} for r in s.sql(x).collect()]
    return {"result": out, "s": round(time.time() - t0, 2), "new": [x for x in timeline(t) if x[0] not in before]}


def cmd_sql(a):
    s = spark(a["hudi"])
    q = a["sql"]
    if "{t}" in q:  # registering rewrites the table's hoodie.properties
        q = q.replace("{t}", reg(s, a["table"]))
    for k, v in (a.get("opt") or {}).items():
        s.conf.set(k, v)
    try:
        return lines([r.asDict() for r in s.sql(q.replace("{path}", a["table"])).collect()])
    finally:
        for k in a.get("opt") or {}:
            s.conf.unset(k)


def cmd_continue(a):
    t = a["table"]
    s = spark(a["hudi"])
    out = {}
    s0 = lines(spark_rows(s, t), True)
    n0 = len(s0)
    out["write"] = cmd_write(a)
    s1 = lines(spark_rows(s, t), True)
    out["rows"] = [n0, len(s1)]
    keys = props(t)["hoodie.table.recordkey.fields"].split(",")
    by = {tuple(json.loads(l)[k] for k in keys): l for l in s1}
    cols = [c for c in json.loads(s1[0])]
    want = [r for r in lines([r.asDict() for r in load_rows(s, t, a["rows"]).collect()], True)]
    miss = [w for w in want if by.get(tuple(json.loads(w)[k] for k in keys)) is None]
    diff = [w for w in want if by.get(tuple(json.loads(w)[k] for k in keys)) != w]
    wk = {tuple(json.loads(w)[k] for k in keys) for w in want}
    old = {tuple(json.loads(l)[k] for k in keys): json.loads(l) for l in s0}
    ch = [
        (old[k], json.loads(by[k]) if k in by else None)
        for k in old
        if k not in wk and (k not in by or json.loads(by[k]) != old[k])
    ]
    out["untouched_rows_changed"] = len(ch)
    if ch:
        out["changed_example"] = ch[0]
    out["upserted_not_found"], out["upserted_differ(by ordering field?)"] = len(miss), len(diff)
    if props(t)["hoodie.table.type"] == "MERGE_ON_READ":
        out["compact"] = cmd_service({**a, "what": "compact", "opt": {"hoodie.compact.inline.max.delta.commits": "1"}})
        s2 = lines(spark_rows(s, t), True)
        ro = lines(spark_rows(s, t, "read_optimized"), True)
        out["same_after_compaction"] = s2 == s1
        out["ro_equals_snapshot"] = ro == s2
    out["clean"] = cmd_service({**a, "what": "clean", "opt": {}})
    out["same_after_clean"] = lines(spark_rows(s, t), True) == s1
    out["ok"] = (
        not miss
        and not ch
        and out.get("same_after_compaction", True)
        and out.get("ro_equals_snapshot", True)
        and out["same_after_clean"]
    )
    return out


def cmd_lock(a):
    """The text that Hudi's storage lock writes for what it reads in the given one."""
    jvm = spark(a["hudi"])._jvm
    models = jvm.org.apache.hudi.client.transaction.lock.models
    text = jvm.java.io.ByteArrayInputStream(bytearray(a["text"].encode()))
    lock = models.StorageLockFile.createFromStream(text, "version")
    data = models.StorageLockData(lock.isExpired(), lock.getValidUntilMs(), lock.getOwner())
    return bytes(models.StorageLockFile.toByteArray(data)).decode()


_held = []


def cmd_take_lock(a):
    """Takes the lock that the options name as a write would, and tells whether it was free within wait_ms."""
    s = spark(a["hudi"])
    stand_ins(s, a["hudi"])
    jvm = s._jvm
    p = jvm.org.apache.hudi.common.config.TypedProperties()
    p.put("hoodie.base.path", a["table"])
    for k, v in a["opt"].items():
        p.put(k, v)
    hadoop = jvm.org.apache.hudi.hadoop.fs.HadoopFSUtils.getStorageConf(s.sparkContext._jsc.hadoopConfiguration())
    provider = jvm
    for name in a["opt"]["hoodie.write.lock.provider"].split("."):
        provider = getattr(provider, name)
    lock = provider(jvm.org.apache.hudi.common.config.LockConfiguration(p), hadoop)
    end = time.monotonic() + a["wait_ms"] / 1000
    while not lock.tryLock(1000, jvm.java.util.concurrent.TimeUnit.MILLISECONDS):  # as Hudi's LockManager
        if time.monotonic() > end:
            lock.close()
            return False
        time.sleep(0.05)
    _held.append(lock)
    return True


def cmd_release_lock(a):
    lock = _held.pop()
    lock.unlock()
    lock.close()


def stand_ins(s, hudi):
    """classes in the place of those of hudi-aws-bundle"""
    from sp import compile_java

    compile_java(s, *(["DynamoDBBasedLockProvider"] + (["S3StorageLockClient"] if hudi >= "1" else [])))


CMDS = {
    "take_lock": cmd_take_lock,
    "release_lock": cmd_release_lock,
    "read": cmd_read,
    "check": cmd_check,
    "write": cmd_write,
    "service": cmd_service,
    "sql": cmd_sql,
    "lock": cmd_lock,
    "continue": cmd_continue,
}


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--hudi", default="1.2.0")
    sp = ap.add_subparsers(dest="cmd", required=True)

    def P(n, *pos):
        x = sp.add_parser(n)
        for q in pos:
            x.add_argument(q)
        return x

    x = P("read", "table")
    for f in ("--mode", "--as-of", "--begin", "--end", "--engine", "--mdt", "--out"):
        x.add_argument(f)
    x.add_argument("--no-meta", action="store_true")
    x = P("check", "table")
    x.add_argument("--expect")
    x.add_argument("--no-rs", action="store_true")
    x = P("write", "table")
    x.add_argument("--rows", required=True)
    x.add_argument("--op", default="upsert")
    x.add_argument("--opt", action="append")
    x = P("service", "table", "what")
    x.add_argument("--opt", action="append")
    P("sql", "sql", "table")
    x = P("continue", "table")
    x.add_argument("--rows", required=True)
    x.add_argument("--opt", action="append")
    P("serve")
    a = vars(ap.parse_args())
    if isinstance(a.get("opt"), list):
        a["opt"] = dict(o.split("=", 1) for o in a["opt"])
    if "table" in a:
        a["table"] = os.path.abspath(a["table"])
    if a["cmd"] == "serve":
        for l in sys.stdin:
            if not l.strip():
                continue
            j = json.loads(l)
            j.setdefault("hudi", a["hudi"])
            t0 = time.time()
            try:
                if "s3" in j:
                    use_bucket(j["s3"])
                if "s" in _spark:
                    _spark["s"].catalog.clearCache()
                r = {"ok": True, "result": CMDS[j["cmd"]](j)}
            except Exception as e:
                r = {"ok": False, "error": short(e)}
            r["s"] = round(time.time() - t0, 3)
            r["id"] = j.get("id")
            print(json.dumps(r, ensure_ascii=False), flush=True)
        return
    r = CMDS[a["cmd"]](a)
    if isinstance(r, list):
        f = open(a["out"], "w", encoding="utf8") if a.get("out") else sys.stdout
        for l in r:
            f.write(l + "\n")
    else:
        print(json.dumps(r, indent=1, ensure_ascii=False))
        sys.exit(0 if r.get("ok", True) else 1)


if __name__ == "__main__":
    main()
