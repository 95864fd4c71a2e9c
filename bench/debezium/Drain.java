import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicLong;

/** Drain lets Debezium's engine read changes, as Connect's objects, and drops them. Its arguments: how many, then properties. */
public class Drain {
  public static void main(String[] args) throws Exception {
    long want = Long.parseLong(args[0]);
    Properties p = new Properties();
    for (int i = 1; i < args.length; i++) {
      int eq = args[i].indexOf('=');
      p.setProperty(args[i].substring(0, eq), args[i].substring(eq + 1));
    }
    CountDownLatch done = new CountDownLatch(1);
    AtomicLong have = new AtomicLong();
    DebeziumEngine<?> engine =
        DebeziumEngine.create(Connect.class)
            .using(p)
            .using(
                (ok, message, error) -> {
                  System.err.println(message);
                  System.exit(1); // it never ends by itself
                })
            .notifying(
                (records, committer) -> {
                  for (var r : records) committer.markProcessed(r);
                  committer.markBatchFinished();
                  if (have.addAndGet(records.size()) >= want) done.countDown();
                })
            .build();
    Executors.newSingleThreadExecutor().execute((Runnable) engine);
    done.await();
    Runtime.getRuntime().halt(0);
  }
}
