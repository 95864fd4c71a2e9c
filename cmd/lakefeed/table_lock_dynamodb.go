package main

import (
	"context"
	"fmt"
	"strings"

	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"lakefeed/hudi"
	"lakefeed/hudi/lock"
	"lakefeed/hudi/lock/dynamolock"
)

// Hudi's names of where the lock in DynamoDB is.
const (
	dynamoTableKey    = "hoodie.write.lock.dynamodb.table"
	dynamoKeyKey      = "hoodie.write.lock.dynamodb.partition_key"
	dynamoRegionKey   = "hoodie.write.lock.dynamodb.region"
	dynamoEndpointKey = "hoodie.write.lock.dynamodb.endpoint_url"
)

// dynamoPlace reads the TABLE/KEY of --lock dynamodb:TABLE/KEY or, where that is "", what a
// table's properties say. The key is the table's name, as for Hudi, if they do not say it.
func dynamoPlace(text string, props hudi.Properties) (dynamolock.Options, error) {
	if text == "" {
		o := dynamolock.Options{Table: props[dynamoTableKey], Key: firstOf(props[dynamoKeyKey], props["hoodie.table.name"])}
		if o.Table == "" {
			return o, usage("the table's writers lock in DynamoDB (%s), and its properties do not say in which table (%s): name the lock by --lock dynamodb:TABLE/KEY", lockProviderKey, dynamoTableKey)
		}
		return o, nil
	}
	table, key, _ := strings.Cut(text, "/")
	if table == "" || key == "" {
		return dynamolock.Options{}, usage("--lock dynamodb:%s: want dynamodb:TABLE/KEY, the table of the locks and the key of this one (%s and %s)", text, dynamoTableKey, dynamoKeyKey)
	}
	return dynamolock.Options{Table: table, Key: key}, nil
}

// dynamoLocker is the lock in DynamoDB, with the credentials and in the region that the
// machine has for AWS, if the table's properties name no other.
func dynamoLocker(ctx context.Context, o dynamolock.Options, props hudi.Properties) (lock.Locker, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx, awsconfig.WithRegion(props[dynamoRegionKey]))
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, usage("the lock in DynamoDB: no region is set: AWS_REGION names it")
	}
	return dynamolock.New(dynamodb.NewFromConfig(cfg, func(c *dynamodb.Options) {
		if at := props[dynamoEndpointKey]; at != "" {
			c.BaseEndpoint = &at
		}
	}), o)
}
