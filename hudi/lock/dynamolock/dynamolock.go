// Package dynamolock is the lock of a Hudi table in DynamoDB, in the form of Hudi's own
// DynamoDBBasedLockProvider, so that it excludes Spark's writers too.
//
// The lock is one item of a table, laid out as AWS's lock client for Java has it:
//
//	key                  S  what is locked
//	ownerName            S  who holds it
//	leaseDuration        S  milliseconds that it lasts without a renewal
//	recordVersionNumber  S  a UUID, another one with each renewal
//	isReleased           S  "1" where it was given back and the item kept
//
// Nobody compares clocks: who waits takes the lock once it has seen the same version
// for as long as the holder's lease.
package dynamolock

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/google/uuid"

	"lakefeed/hudi/lock"
)

// Client is what the lock needs of a [dynamodb.Client].
type Client interface {
	GetItem(context.Context, *dynamodb.GetItemInput, ...func(*dynamodb.Options)) (*dynamodb.GetItemOutput, error)
	PutItem(context.Context, *dynamodb.PutItemInput, ...func(*dynamodb.Options)) (*dynamodb.PutItemOutput, error)
	UpdateItem(context.Context, *dynamodb.UpdateItemInput, ...func(*dynamodb.Options)) (*dynamodb.UpdateItemOutput, error)
	DeleteItem(context.Context, *dynamodb.DeleteItemInput, ...func(*dynamodb.Options)) (*dynamodb.DeleteItemOutput, error)
}

// Options say where the lock is.
type Options struct {
	// Table of the locks, Hudi's hoodie.write.lock.dynamodb.table. Required.
	Table string
	// Key of this lock, Hudi's hoodie.write.lock.dynamodb.partition_key, which is the
	// Hudi table's name by default. Required.
	Key string
	// Lease is how long the lock lasts without a renewal; 0: 1 minute, as Hudi's
	// hoodie.write.lock.wait_time_ms has it.
	Lease time.Duration
	// Renew is how often it is renewed; 0: a third of Lease.
	Renew time.Duration
	// Poll is how often one that waits looks whether it is free; 0: 1 second.
	Poll time.Duration
}

// Create makes a table of locks, paid by request, and waits for it. A table that is
// there is no error.
func Create(ctx context.Context, client *dynamodb.Client, table string) error {
	_, err := client.CreateTable(ctx, &dynamodb.CreateTableInput{
		TableName:            &table,
		BillingMode:          types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String(attrKey), AttributeType: types.ScalarAttributeTypeS}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String(attrKey), KeyType: types.KeyTypeHash}},
	})
	if there := new(types.ResourceInUseException); err != nil && !errors.As(err, &there) {
		return fmt.Errorf("create table of locks %s: %w", table, err)
	}
	waiter := dynamodb.NewTableExistsWaiter(client)
	if err := waiter.Wait(ctx, &dynamodb.DescribeTableInput{TableName: &table}, 10*time.Minute); err != nil {
		return fmt.Errorf("wait for table of locks %s: %w", table, err)
	}
	return nil
}

// New is the lock under a key. The table of locks must be there: see [Create].
func New(client Client, o Options) (lock.Locker, error) {
	if o.Table == "" || o.Key == "" {
		return nil, fmt.Errorf("DynamoDB lock: table %q and key %q: both are required", o.Table, o.Key)
	}
	if o.Lease == 0 {
		o.Lease = time.Minute
	}
	if o.Renew == 0 {
		o.Renew = o.Lease / 3
	}
	if o.Poll == 0 {
		o.Poll = time.Second
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("DynamoDB lock: %w", err)
	}
	return &locker{client, o, fmt.Sprintf("lakefeed %s/%d/", host, os.Getpid())}, nil
}

// The names of the item's attributes.
const (
	attrKey      = "key"
	attrOwner    = "ownerName"
	attrLease    = "leaseDuration"
	attrVersion  = "recordVersionNumber"
	attrReleased = "isReleased"
)

type locker struct {
	client Client
	opts   Options
	owner  string // but for a part of each hold's own
}

func (l *locker) String() string { return "lock dynamodb:" + l.opts.Table + "/" + l.opts.Key }

// record is the item of the lock.
type record struct {
	owner, version string
	lease          time.Duration
	released       bool
}

func text(item map[string]types.AttributeValue, name string) string {
	if s, ok := item[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// read is the item, nil where there is none.
func (l *locker) read(ctx context.Context) (*record, error) {
	out, err := l.client.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: &l.opts.Table, Key: l.key(), ConsistentRead: aws.Bool(true),
	})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", l, err)
	}
	if len(out.Item) == 0 {
		return nil, nil //nolint:nilnil // no lock and no error is what it means
	}
	r := &record{owner: text(out.Item, attrOwner), version: text(out.Item, attrVersion), released: text(out.Item, attrReleased) == "1"}
	ms, err := strconv.ParseInt(text(out.Item, attrLease), 10, 64)
	if err != nil || r.version == "" {
		return nil, fmt.Errorf("read %s: it is no lock of Hudi's: delete the item when nobody writes to the table", l)
	}
	r.lease = time.Duration(ms) * time.Millisecond
	return r, nil
}

func str(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }

func (l *locker) key() map[string]types.AttributeValue {
	return map[string]types.AttributeValue{attrKey: str(l.opts.Key)}
}

func (l *locker) leaseText() string { return strconv.FormatInt(l.opts.Lease.Milliseconds(), 10) }

// Lock implements [lock.Locker].
func (l *locker) Lock(ctx context.Context) (lock.Lease, error) {
	h := &hold{locker: l, owner: l.owner + uuid.NewString()}
	var seen record
	var since time.Time
	return lock.Await(ctx, h, l.opts.Poll, func() (lock.Lease, string, error) {
		began := time.Now()
		now, err := l.read(ctx)
		if err != nil {
			return nil, "", err
		}
		if now != nil && *now != seen {
			seen, since = *now, began
		}
		if now != nil && !now.released && time.Since(since) <= now.lease {
			return nil, now.owner, nil
		}
		taken, err := h.take(ctx, now)
		if err != nil || !taken {
			return nil, "another", err
		}
		return lock.Keep(ctx, h, began, l.opts.Lease, l.opts.Renew), "", nil
	})
}

// hold is a lock that one Lock takes. It is not used by two goroutines at once.
type hold struct {
	*locker
	owner   string
	version string
}

// take puts our item in the place of the one that was read, if that is still so.
func (h *hold) take(ctx context.Context, before *record) (bool, error) {
	version := uuid.NewString()
	in := &dynamodb.PutItemInput{
		TableName: &h.opts.Table,
		Item: map[string]types.AttributeValue{
			attrKey: str(h.opts.Key), attrOwner: str(h.owner), attrLease: str(h.leaseText()), attrVersion: str(version),
		},
		ConditionExpression:      aws.String("attribute_not_exists(#k)"),
		ExpressionAttributeNames: map[string]string{"#k": attrKey},
	}
	if before != nil {
		in.ConditionExpression = aws.String("attribute_exists(#k) AND #v = :v")
		in.ExpressionAttributeNames["#v"] = attrVersion
		in.ExpressionAttributeValues = map[string]types.AttributeValue{":v": str(before.version)}
	}
	_, err := h.client.PutItem(ctx, in)
	if err != nil {
		now, rerr := h.read(ctx)
		switch {
		case rerr != nil:
			return false, errors.Join(err, rerr)
		case now != nil && now.version == version: // it was done all the same
		case failed(err):
			return false, nil
		default:
			return false, fmt.Errorf("write %s: %w", h, err)
		}
	}
	h.version = version
	return true, nil
}

// failed tells whether a condition was not met.
func failed(err error) bool {
	c := new(types.ConditionalCheckFailedException)
	return errors.As(err, &c)
}

// condition is that the item is this lease's.
func (h *hold) condition() (expr *string, names map[string]string, values map[string]types.AttributeValue) {
	return aws.String("attribute_exists(#k) AND #v = :v AND #o = :o"),
		map[string]string{"#k": attrKey, "#v": attrVersion, "#o": attrOwner},
		map[string]types.AttributeValue{":v": str(h.version), ":o": str(h.owner)}
}

// rewrite makes a call on the item that is held, and once more where a renewal whose
// answer was lost has come through late.
func (h *hold) rewrite(ctx context.Context, call func() error) error {
	for try := 0; ; try++ {
		err := call()
		if err == nil || !failed(err) {
			return err
		}
		now, rerr := h.read(ctx)
		switch {
		case rerr != nil:
			return errors.Join(err, rerr)
		case now == nil || now.owner != h.owner:
			return fmt.Errorf("%s: %w: %+v", h, lock.ErrLost, now)
		case try > 0:
			return fmt.Errorf("write %s: %w", h, err)
		}
		h.version = now.version
	}
}

// Renew implements [lock.Held].
func (h *hold) Renew(ctx context.Context) error {
	version := uuid.NewString()
	err := h.rewrite(ctx, func() error {
		in := &dynamodb.UpdateItemInput{
			TableName: &h.opts.Table, Key: h.key(), UpdateExpression: aws.String("SET #l = :l, #v = :n"),
		}
		in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = h.condition()
		in.ExpressionAttributeNames["#l"] = attrLease
		in.ExpressionAttributeValues[":l"], in.ExpressionAttributeValues[":n"] = str(h.leaseText()), str(version)
		_, err := h.client.UpdateItem(ctx, in)
		return err
	})
	if err != nil {
		return fmt.Errorf("renew %s: %w", h, err)
	}
	h.version = version
	return nil
}

// Release implements [lock.Held].
func (h *hold) Release(ctx context.Context) error {
	err := h.rewrite(ctx, func() error {
		in := &dynamodb.DeleteItemInput{TableName: &h.opts.Table, Key: h.key()}
		in.ConditionExpression, in.ExpressionAttributeNames, in.ExpressionAttributeValues = h.condition()
		_, err := h.client.DeleteItem(ctx, in)
		return err
	})
	if err != nil {
		return fmt.Errorf("give back %s: %w", h, err)
	}
	return nil
}
