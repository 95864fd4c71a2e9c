// Lakefeed keeps Apache Hudi tables on a data lake in step with PostgreSQL:
// seconds behind, exactly once. `lakefeed help` lists the commands; there is a file
// for each here. docs/operations.md has the exit codes.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is the program: it returns the exit code.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	started := false // false while the command line is still being understood
	root := &cobra.Command{
		Use:               "lakefeed",
		Short:             "Keeps Apache Hudi tables in step with PostgreSQL, exactly once",
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRun:  func(*cobra.Command, []string) { started = true },
	}
	root.AddCommand(demoCommand(), checkCommand(), runCommand(), bootstrapCommand(), adoptCommand(), repointCommand(), statusCommand(), validateCommand(), cutCommand(), quarantineCommand(), dropCommand(), schemaCommand(), tableCommand(), queryCommand(), versionCommand())
	root.AddCommand(lifeCommands()...)
	addExamples(root, "")
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	if err != nil && !started {
		err = &usageError{fmt.Sprintf("%v; see `%s --help`", err, cmd.CommandPath())}
	}
	if err != nil && !errors.Is(err, errFound) {
		_, _ = fmt.Fprintf(stderr, "lakefeed: %v\n", err)
	}
	return exitCode(err)
}
