"""A Spark session that is small on two cores: get_spark(hudi="1.2.0", mem="2g", cores=2, extra={})"""

import glob, os, time

BASE = os.environ["LAKEFEED_INTEROP"]  # where scripts/install-interop.sh put jars/; tmp/ is for Spark
os.makedirs(f"{BASE}/tmp", exist_ok=True)
HERE = os.path.dirname(os.path.abspath(__file__))
CLASSES = f"{HERE}/classes"  # what compile_java makes of the .java files here


def compile_java(spark, *names):
    """compiles classes in a running Spark, by the compiler that it has for its own code"""
    jvm = spark._jvm
    if os.listdir(CLASSES):
        return
    files = spark.sparkContext._gateway.new_array(jvm.java.io.File, len(names))
    for i, name in enumerate(names):
        files[i] = jvm.java.io.File(f"{HERE}/{name}.java")
    compiler = jvm.org.codehaus.janino.Compiler()
    compiler.setIClassLoader(jvm.org.codehaus.janino.ClassLoaderIClassLoader(jvm.java.lang.ClassLoader.getSystemClassLoader()))
    compiler.setSourceVersion(8)
    compiler.setTargetVersion(8)
    compiler.setDestinationDirectory(jvm.java.io.File(CLASSES), False)
    compiler.compile(files)


def get_spark(hudi="1.2.0", mem="2g", cores=2, extra=None, jars=(), app="hudi"):
    from pyspark.sql import SparkSession

    t = time.time()
    js = [f"{BASE}/jars/hudi-spark3.5-bundle_2.12-{hudi}.jar"] + list(jars)
    more = sorted(glob.glob(f"{BASE}/jars/s3/*.jar") + glob.glob(f"{BASE}/jars/locks/lib/*.jar"))  # not in spark.jars, which are copied
    os.makedirs(CLASSES, exist_ok=True)
    os.environ.setdefault("SPARK_LOCAL_IP", "127.0.0.1")
    b = (
        SparkSession.builder.master(f"local[{cores}]")
        .appName(app)
        .config("spark.driver.memory", mem)
        .config("spark.jars", ",".join(js))
        .config("spark.driver.extraClassPath", ":".join(js + more + [CLASSES]))
        .config("spark.serializer", "org.apache.spark.serializer.KryoSerializer")
        .config("spark.kryo.registrator", "org.apache.spark.HoodieSparkKryoRegistrar")
        .config("spark.sql.extensions", "org.apache.spark.sql.hudi.HoodieSparkSessionExtension")
        .config("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.hudi.catalog.HoodieCatalog")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.default.parallelism", "2")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.hadoop.parquet.page.verify-checksum.enabled", "true")
        .config("spark.sql.warehouse.dir", f"{BASE}/tmp/wh")
        .config("spark.local.dir", f"{BASE}/tmp/spark")
    )
    for k, v in (extra or {}).items():
        b = b.config(k, v)
    spark = b.getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    spark._startup_s = time.time() - t
    return spark
