package org.apache.hudi.aws.transaction.lock;

import com.amazonaws.auth.AWSStaticCredentialsProvider;
import com.amazonaws.auth.BasicAWSCredentials;
import com.amazonaws.client.builder.AwsClientBuilder;
import com.amazonaws.services.s3.AmazonS3;
import com.amazonaws.services.s3.AmazonS3ClientBuilder;
import com.amazonaws.services.s3.model.AmazonS3Exception;
import com.amazonaws.services.s3.model.ObjectMetadata;
import com.amazonaws.services.s3.model.PutObjectRequest;
import com.amazonaws.services.s3.model.S3Object;
import java.io.ByteArrayInputStream;
import java.net.URI;
import java.util.Properties;
import org.apache.hudi.client.transaction.lock.StorageLockClient;
import org.apache.hudi.client.transaction.lock.models.LockGetResult;
import org.apache.hudi.client.transaction.lock.models.LockUpsertResult;
import org.apache.hudi.client.transaction.lock.models.StorageLockData;
import org.apache.hudi.client.transaction.lock.models.StorageLockFile;
import org.apache.hudi.common.util.Option;
import org.apache.hudi.common.util.collection.Pair;

/**
 * Stands in for the class of this name in hudi-aws-bundle, which not every Maven repository
 * has: the few requests that Hudi's own StorageBasedLockProvider makes of S3, by the client
 * that Spark has for S3 anyhow. Raw types and casts, since Spark's own small compiler translates it.
 */
public class S3StorageLockClient implements StorageLockClient {
  private final AmazonS3 s3;
  private final String bucket;
  private final String key;

  public S3StorageLockClient(String owner, String uri, Properties p) {
    bucket = URI.create(uri).getHost();
    key = URI.create(uri).getPath().substring(1);
    AmazonS3ClientBuilder builder = AmazonS3ClientBuilder.standard();
    builder.setEndpointConfiguration(new AwsClientBuilder.EndpointConfiguration(p.get("hoodie.test.s3.endpoint").toString(), "us-east-1"));
    builder.setCredentials(new AWSStaticCredentialsProvider(
        new BasicAWSCredentials(p.get("hoodie.test.s3.access").toString(), p.get("hoodie.test.s3.secret").toString())));
    builder.setPathStyleAccessEnabled(Boolean.TRUE);
    s3 = (AmazonS3) builder.build();
  }

  public Pair readCurrentLockFile() {
    try {
      S3Object object = s3.getObject(bucket, key);
      return Pair.of(LockGetResult.SUCCESS, Option.of(StorageLockFile.createFromStream(object.getObjectContent(), object.getObjectMetadata().getETag())));
    } catch (AmazonS3Exception e) {
      return Pair.of(e.getStatusCode() == 404 ? LockGetResult.NOT_EXISTS : LockGetResult.UNKNOWN_ERROR, Option.empty());
    }
  }

  public Pair tryUpsertLockFile(StorageLockData data, Option before) {
    byte[] bytes = StorageLockFile.toByteArray(data);
    ObjectMetadata meta = new ObjectMetadata();
    meta.setContentLength(bytes.length);
    PutObjectRequest put = new PutObjectRequest(bucket, key, new ByteArrayInputStream(bytes), meta);
    if (before.isPresent()) {
      put.putCustomRequestHeader("If-Match", "\"" + ((StorageLockFile) before.get()).getVersionId() + "\"");
    } else {
      put.putCustomRequestHeader("If-None-Match", "*");
    }
    try {
      return Pair.of(LockUpsertResult.SUCCESS, Option.of(new StorageLockFile(data, s3.putObject(put).getETag())));
    } catch (AmazonS3Exception e) {
      return Pair.of(e.getStatusCode() == 412 ? LockUpsertResult.ACQUIRED_BY_OTHERS : LockUpsertResult.UNKNOWN_ERROR, Option.empty());
    }
  }

  public Option readObject(String path, boolean look) {
    return Option.empty();
  }

  public boolean writeObject(String path, String text) {
    return false;
  }

  public void close() {
    s3.shutdown();
  }
}
