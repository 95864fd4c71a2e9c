package org.apache.hudi.aws.transaction.lock;

import com.amazonaws.services.dynamodbv2.AcquireLockOptions;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClient;
import com.amazonaws.services.dynamodbv2.AmazonDynamoDBLockClientOptions;
import com.amazonaws.services.dynamodbv2.LockItem;
import com.amazonaws.services.dynamodbv2.model.LockNotGrantedException;
import java.net.URI;
import java.util.Properties;
import java.util.concurrent.TimeUnit;
import org.apache.hudi.common.config.LockConfiguration;
import org.apache.hudi.common.lock.LockProvider;
import org.apache.hudi.exception.HoodieLockException;
import org.apache.hudi.storage.StorageConfiguration;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.http.urlconnection.UrlConnectionHttpClient;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dynamodb.DynamoDbClient;
import software.amazon.awssdk.services.dynamodb.DynamoDbClientBuilder;

/**
 * Stands in for the class of this name in hudi-aws-bundle, which not every Maven repository
 * has: AWS's own lock client with the settings that Hudi gives it, in a DynamoDB that the
 * options name. Raw types and casts, since Spark's own small compiler translates it.
 */
public class DynamoDBBasedLockProvider implements LockProvider {
  private final AmazonDynamoDBLockClient client;
  private final String key;
  private LockItem lock;

  public DynamoDBBasedLockProvider(LockConfiguration conf, StorageConfiguration storage) {
    Properties p = conf.getConfig();
    DynamoDbClientBuilder builder = DynamoDbClient.builder();
    builder.endpointOverride(URI.create(option(p, "hoodie.write.lock.dynamodb.endpoint_url", "")));
    builder.region(Region.of(option(p, "hoodie.write.lock.dynamodb.region", "us-east-1")));
    builder.credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create("test", "test")));
    builder.httpClient(UrlConnectionHttpClient.create());
    long lease = Long.parseLong(option(p, "hoodie.write.lock.wait_time_ms", "60000"));
    key = option(p, "hoodie.write.lock.dynamodb.partition_key", "");
    client = new AmazonDynamoDBLockClient(
        AmazonDynamoDBLockClientOptions.builder((DynamoDbClient) builder.build(), option(p, "hoodie.write.lock.dynamodb.table", ""))
            .withTimeUnit(TimeUnit.MILLISECONDS)
            .withLeaseDuration(Long.valueOf(lease))
            .withHeartbeatPeriod(Long.valueOf(lease / 3))
            .withCreateHeartbeatBackgroundThread(Boolean.TRUE)
            .build());
  }

  private static String option(Properties p, String name, String otherwise) {
    Object value = p.get(name);
    return value == null ? otherwise : value.toString();
  }

  public boolean tryLock(long time, TimeUnit unit) {
    try {
      lock = client.acquireLock(AcquireLockOptions.builder(key)
          .withAdditionalTimeToWaitForLock(Long.valueOf(unit.toMillis(time)))
          .withTimeUnit(TimeUnit.MILLISECONDS)
          .build());
    } catch (InterruptedException e) {
      throw new HoodieLockException("interrupted while waiting for the lock", e);
    } catch (LockNotGrantedException e) {
      return false;
    }
    return lock != null && !lock.isExpired();
  }

  public void unlock() {
    if (lock != null) {
      client.releaseLock(lock);
    }
    lock = null;
  }

  public Object getLock() {
    return lock;
  }

  public void close() {
    try {
      unlock();
      client.close();
    } catch (java.io.IOException e) {
      throw new HoodieLockException("close the lock's client", e);
    }
  }
}
