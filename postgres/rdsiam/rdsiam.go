// Package rdsiam makes the passwords with which Amazon's RDS and Aurora let in a role that
// has rds_iam: tokens that are signed with AWS credentials and are good for a quarter of an hour.
package rdsiam

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/rds/auth"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// Options say with whose credentials tokens are signed. The zero value takes the
// environment's, a profile's, web identity's, the container's or the machine's, in this order.
type Options struct {
	Region     string // of the database; default: as its host's name says, else the credentials' own
	Profile    string // of ~/.aws/config and ~/.aws/credentials
	RoleARN    string // a role to assume
	ExternalID string // for it
}

// ErrNoRegion is a database whose region nobody told.
var ErrNoRegion = errors.New("rds_iam: no AWS region: the host's name does not tell it; set rds_iam.region or AWS_REGION")

// Signer makes tokens. It may be used by several goroutines.
type Signer struct {
	opts   Options
	loaded sync.Mutex
	cfg    *aws.Config
}

// New makes a signer. Credentials are looked for when the first token is made.
func New(o Options) *Signer { return &Signer{opts: o} }

// Token is a password for one connection to a host, whose name must be the one that AWS gave
// to it. It is never made of an older one: each call signs anew.
func (s *Signer) Token(ctx context.Context, host string, port uint16, user string) (string, error) {
	cfg, err := s.config(ctx)
	if err != nil {
		return "", fmt.Errorf("find AWS credentials for rds_iam: %w", err)
	}
	region := s.opts.Region
	if region == "" {
		region = Region(host)
	}
	if region == "" {
		region = cfg.Region
	}
	if region == "" {
		return "", ErrNoRegion
	}
	token, err := auth.BuildAuthToken(ctx, net.JoinHostPort(host, strconv.Itoa(int(port))), region, user, cfg.Credentials)
	if err != nil {
		s.forget(cfg)
		return "", fmt.Errorf("sign a token of rds_iam for user %s at %s: %w", user, host, err)
	}
	if used, err := cfg.Credentials.Retrieve(ctx); err != nil || !used.CanExpire {
		s.forget(cfg)
	}
	return token, nil
}

// forget has the configuration read anew for the next token: credentials that tell no end, as those of
// a file do, may be others by then, and so may those that a role is assumed with that is refused.
func (s *Signer) forget(cfg *aws.Config) {
	s.loaded.Lock()
	defer s.loaded.Unlock()
	if s.cfg == cfg {
		s.cfg = nil
	}
}

// config is the AWS configuration, which renews credentials as they expire.
func (s *Signer) config(ctx context.Context) (*aws.Config, error) {
	s.loaded.Lock()
	defer s.loaded.Unlock()
	if s.cfg != nil {
		return s.cfg, nil
	}
	var with []func(*config.LoadOptions) error
	if s.opts.Profile != "" {
		with = append(with, config.WithSharedConfigProfile(s.opts.Profile))
	}
	if s.opts.Region != "" {
		with = append(with, config.WithRegion(s.opts.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, with...)
	if err != nil {
		return nil, err
	}
	if s.opts.RoleARN != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), s.opts.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			if s.opts.ExternalID != "" {
				o.ExternalID = &s.opts.ExternalID
			}
		})
		cfg.Credentials = aws.NewCredentialsCache(role)
	}
	s.cfg = &cfg
	return s.cfg, nil
}

// Region is the region that a host's name tells, such as
// shop.cluster-abc.eu-central-1.rds.amazonaws.com; empty where it tells none.
func Region(host string) string {
	name, ok := strings.CutSuffix(strings.TrimSuffix(strings.TrimSuffix(host, "."), ".cn"), ".rds.amazonaws.com")
	if !ok {
		return ""
	}
	return name[strings.LastIndexByte(name, '.')+1:]
}
