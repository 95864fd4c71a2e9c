package dynamolock_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"lakefeed/hudi/lock"
	"lakefeed/hudi/lock/dynamolock"
	"lakefeed/hudi/lock/locktest"
	"lakefeed/internal/dynamotest"
)

const locks = "hudi-locks"

// lined is a client at the end of a line.
type lined struct {
	*dynamodb.Client
	line *locktest.Line
}

func (c lined) GetItem(ctx context.Context, in *dynamodb.GetItemInput, o ...func(*dynamodb.Options)) (out *dynamodb.GetItemOutput, err error) {
	err = c.line.Pass(func() (err error) { out, err = c.Client.GetItem(ctx, in, o...); return err })
	return out, err
}

func (c lined) PutItem(ctx context.Context, in *dynamodb.PutItemInput, o ...func(*dynamodb.Options)) (out *dynamodb.PutItemOutput, err error) {
	err = c.line.Pass(func() (err error) { out, err = c.Client.PutItem(ctx, in, o...); return err })
	return out, err
}

func (c lined) UpdateItem(ctx context.Context, in *dynamodb.UpdateItemInput, o ...func(*dynamodb.Options)) (out *dynamodb.UpdateItemOutput, err error) {
	err = c.line.Pass(func() (err error) { out, err = c.Client.UpdateItem(ctx, in, o...); return err })
	return out, err
}

func (c lined) DeleteItem(ctx context.Context, in *dynamodb.DeleteItemInput, o ...func(*dynamodb.Options)) (out *dynamodb.DeleteItemOutput, err error) {
	err = c.line.Pass(func() (err error) { out, err = c.Client.DeleteItem(ctx, in, o...); return err })
	return out, err
}

type place struct {
	client *dynamodb.Client
	key    string
}

func (p *place) Locker(line *locktest.Line, _ *locktest.Clock) lock.Locker {
	l, err := dynamolock.New(lined{p.client, line}, dynamolock.Options{
		Table: locks, Key: p.key, Lease: locktest.Term, Renew: locktest.Renew, Poll: locktest.Poll,
	})
	if err != nil {
		panic(err) // the options are ours
	}
	return l
}

func s(text string) types.AttributeValue { return &types.AttributeValueMemberS{Value: text} }

func (p *place) put(t *testing.T, item map[string]types.AttributeValue) {
	t.Helper()
	item["key"] = s(p.key)
	table := locks
	if _, err := p.client.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: &table, Item: item}); err != nil {
		t.Fatal(err)
	}
}

func (p *place) Steal(t *testing.T) {
	p.put(t, map[string]types.AttributeValue{"ownerName": s("thief"), "leaseDuration": s("60000"), "recordVersionNumber": s("1")})
}

func TestDynamoDBLock(t *testing.T) {
	client := dynamotest.Start(t)
	for range 2 { // it may be there
		if err := dynamolock.Create(t.Context(), client, locks); err != nil {
			t.Fatal(err)
		}
	}
	var n atomic.Int64
	newPlace := func() *place { return &place{client, "table-" + strconv.FormatInt(n.Add(1), 10)} }
	t.Run("Suite", func(t *testing.T) {
		locktest.Run(t, locktest.Options{OwnClock: true}, func(*testing.T) locktest.Place { return newPlace() })
	})
	t.Run("Form", func(t *testing.T) { testForm(t, newPlace()) })
	t.Run("Others", func(t *testing.T) { testOthers(t, newPlace()) })
}

// testForm looks at the item, whose attributes are all texts.
func testForm(t *testing.T, p *place) {
	lease, err := p.Locker(new(locktest.Line), nil).Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	item := func() map[string]types.AttributeValue {
		table := locks
		out, err := p.client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: &table, Key: map[string]types.AttributeValue{"key": s(p.key)}})
		if err != nil {
			t.Fatal(err)
		}
		return out.Item
	}
	held := item()
	text := func(name string) string {
		if v, ok := held[name].(*types.AttributeValueMemberS); ok {
			return v.Value
		}
		return ""
	}
	if len(held) != 4 || text("key") != p.key || text("leaseDuration") != strconv.FormatInt(locktest.Term.Milliseconds(), 10) || len(text("recordVersionNumber")) != 36 || text("ownerName") == "" {
		t.Errorf("held, the item is %v", held)
	}
	if err := lease.Unlock(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := item(); len(left) != 0 {
		t.Errorf("given back, the item is %v", left)
	}
}

// testOthers takes what AWS's client leaves: a lock that was released, one whose holder
// died, and one that lives.
func testOthers(t *testing.T, p *place) {
	l := p.Locker(new(locktest.Line), nil)
	take := func(wait time.Duration) (time.Duration, error) {
		ctx, stop := context.WithTimeout(t.Context(), wait)
		defer stop()
		began := time.Now()
		lease, err := l.Lock(ctx)
		if err != nil {
			return 0, err
		}
		return time.Since(began), lease.Unlock(t.Context())
	}
	other := func(lease string) map[string]types.AttributeValue {
		return map[string]types.AttributeValue{
			"ownerName": s("host_1234"), "leaseDuration": s(lease), "recordVersionNumber": s("v" + lease),
			"data": &types.AttributeValueMemberB{Value: []byte("x")},
		}
	}
	released := other("600000")
	released["isReleased"] = s("1")
	p.put(t, released)
	if _, err := take(5 * time.Second); err != nil {
		t.Errorf("a released lock: %v", err)
	}
	p.put(t, other("300"))
	if took, err := take(5 * time.Second); err != nil || took < 300*time.Millisecond {
		t.Errorf("a dead holder's lock was taken after %v, %v", took, err)
	}
	p.put(t, other("60000"))
	if _, err := take(time.Second); err == nil {
		t.Error("a living holder's lock was taken")
	}
	p.put(t, map[string]types.AttributeValue{"ownerName": s("x")})
	if _, err := take(time.Second); err == nil {
		t.Error("what is no lock was taken")
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	if _, err := dynamolock.New(nil, dynamolock.Options{Table: "t"}); err == nil {
		t.Error("a lock without a key")
	}
}
