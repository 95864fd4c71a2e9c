package hudi

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"lakefeed/hudi/timeline"
)

// ServicesFrom are [DefaultServices] as changed by write options that have the names and
// units of Hudi's, for those who bring the options of a Spark or Flink writer along.
// Options about other things are passed over; one about a service that nothing here
// answers to, or a value that cannot be, is an error that names it. What a table's own
// hoodie.properties say is meant for engines that look there, and is not asked.
func ServicesFrom(conf map[string]string) (ServicesOptions, error) {
	n := newServiceNames()
	for _, key := range slices.Sorted(maps.Keys(conf)) {
		take := n.takers[key]
		if take == nil && isServiceName(key) {
			return ServicesOptions{}, fmt.Errorf("%s: nothing here answers to it", key)
		}
		if take == nil {
			continue
		}
		if err := take(strings.TrimSpace(conf[key])); err != nil {
			return ServicesOptions{}, fmt.Errorf("%s: %w", key, err)
		}
	}
	return n.services()
}

// isServiceName tells whether an option of Hudi's is about a service.
func isServiceName(key string) bool {
	return slices.ContainsFunc([]string{"compact", "compaction", "clustering", "clean", "cleaner", "archive", "keep"}, func(part string) bool {
		return strings.HasPrefix(key, "hoodie."+part+".")
	})
}

// serviceNames takes options by their names.
type serviceNames struct {
	takers map[string]func(value string) error

	opts                                   ServicesOptions
	compact, cluster, clean, archive       bool // are wanted
	trigger, policy                        string
	age, commits, hours, versions, targets int64 // in Hudi's units
}

func newServiceNames() *serviceNames {
	n := &serviceNames{
		opts: DefaultServices(), compact: true, clean: true, archive: true, trigger: "NUM_COMMITS", policy: timeline.KeepLatestCommits,
		age: 3600, commits: 10, hours: 24, versions: 3, // where a strategy or policy needs one: Hudi's defaults
	}
	n.opts.Cluster = &ClusterOptions{}
	n.takers = map[string]func(string) error{
		"hoodie.compact.inline":                                 yesNo(&n.compact),
		"hoodie.compact.inline.max.delta.commits":               number(&n.opts.Compact.MinDeltaCommits, 31),
		"hoodie.compact.inline.max.delta.seconds":               number(&n.age, 31),
		"hoodie.compact.inline.trigger.strategy":                oneOf(&n.trigger, "NUM_COMMITS", "TIME_ELAPSED", "NUM_AND_TIME", "NUM_OR_TIME"),
		"hoodie.compaction.logfile.size.threshold":              number(&n.opts.Compact.MinLogBytes, 62),
		"hoodie.compaction.target.io":                           number(&n.targets, 40),
		"hoodie.clustering.inline":                              yesNo(&n.cluster),
		"hoodie.clustering.inline.max.commits":                  number(&n.opts.Cluster.MinCommits, 31),
		"hoodie.clustering.plan.strategy.small.file.limit":      number(&n.opts.Cluster.SmallFileBytes, 62),
		"hoodie.clustering.plan.strategy.target.file.max.bytes": number(&n.opts.Cluster.TargetFileBytes, 62),
		"hoodie.clustering.plan.strategy.sort.columns":          columns(&n.opts.Cluster.SortBy),
		"hoodie.clean.automatic":                                yesNo(&n.clean),
		"hoodie.archive.automatic":                              yesNo(&n.archive),
		"hoodie.keep.min.commits":                               number(&n.opts.Archive.KeepMin, 31),
		"hoodie.keep.max.commits":                               number(&n.opts.Archive.KeepMax, 31),
	}
	for _, prefix := range []string{"hoodie.clean.", "hoodie.cleaner."} { // Hudi 1.x, 0.x
		n.takers[prefix+"policy"] = oneOf(&n.policy, timeline.KeepLatestCommits, timeline.KeepLatestByHours, timeline.KeepLatestFileVersions)
		n.takers[prefix+"commits.retained"] = number(&n.commits, 31)
		n.takers[prefix+"hours.retained"] = number(&n.hours, 20)
		n.takers[prefix+"fileversions.retained"] = number(&n.versions, 31)
	}
	return n
}

// services is what the options say together.
func (n *serviceNames) services() (ServicesOptions, error) {
	o := n.opts
	age := time.Duration(n.age) * time.Second
	switch n.trigger {
	case "TIME_ELAPSED":
		o.Compact.MinDeltaCommits, o.Compact.MinAge = 1, age
	case "NUM_AND_TIME":
		o.Compact.MinAge = age
	case "NUM_OR_TIME":
		o.Compact.MinAge, o.Compact.Either = age, true
	}
	o.Compact.MaxBytes = n.targets << 20
	switch n.policy {
	case timeline.KeepLatestByHours:
		o.Clean.Retain = time.Duration(n.hours) * time.Hour
	case timeline.KeepLatestFileVersions:
		o.Clean.RetainVersions = int(n.versions)
	default:
		o.Clean.RetainCommits = int(n.commits)
	}
	if !n.compact {
		o.Compact = nil
	}
	if !n.cluster {
		o.Cluster = nil
	}
	if !n.clean {
		o.Clean = nil
	}
	if !n.archive {
		o.Archive = nil
	}
	return o, o.Validate()
}

func yesNo(to *bool) func(string) error {
	return func(value string) (err error) {
		if *to, err = strconv.ParseBool(strings.ToLower(value)); err != nil {
			return fmt.Errorf("%q is neither true nor false", value)
		}
		return nil
	}
}

// number takes one of so many bits, so that it does not overflow in our units.
func number[N int | int64](to *N, bits int) func(string) error {
	return func(value string) error {
		n, err := strconv.ParseUint(value, 10, bits)
		if err != nil {
			return fmt.Errorf("%q is no number that it could have", value)
		}
		*to = N(n)
		return nil
	}
}

func oneOf(to *string, names ...string) func(string) error {
	return func(value string) error {
		if *to = strings.ToUpper(value); !slices.Contains(names, *to) {
			return fmt.Errorf("%q: want one of %s", value, strings.Join(names, ", "))
		}
		return nil
	}
}

func columns(to *[]string) func(string) error {
	return func(value string) error {
		for name := range strings.SplitSeq(value, ",") {
			if name = strings.TrimSpace(name); name != "" {
				*to = append(*to, name)
			}
		}
		if len(*to) == 0 {
			return errors.New("no column is named")
		}
		return nil
	}
}
