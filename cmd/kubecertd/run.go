package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/renew"
	"github.com/kubecertd/kubecertd/report/metrics"
	"github.com/kubecertd/kubecertd/report/notify"
	"github.com/kubecertd/kubecertd/systemd"
)

func newRun() *cobra.Command {
	return &cobra.Command{
		Use:   "run",
		Short: "Run the daemon (systemd does this)",
		Long: `Run the daemon: look, and act if there is anything to do, for ever. It wakes when a
certificate becomes due, at the check interval, and when files change. SIGHUP reads
the configuration again; a wrong one is refused and the old one kept. SIGTERM ends
it; restarts that have begun are finished first.`,
		Example: `  systemctl enable --now kubecertd
  kubecertd run --config ./kubecertd.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := load(cmd)
			if err != nil {
				return err
			}
			if err := requireRoot("the daemon"); err != nil {
				return err
			}
			if err := requireHost(c); err != nil {
				return err
			}
			log, err := newLogger(c.Log, true)
			if err != nil {
				return err
			}
			defer func() { _ = log.Sync() }()
			return daemon(cmd, c, log)
		},
	}
}

// daemon wires the loop to the node, file events, signals and the service manager.
func daemon(cmd *cobra.Command, c configs.Config, log *zap.Logger) error {
	release, err := renew.State{Dir: c.Paths.State}.LockDaemon()
	if err != nil {
		return err
	}
	defer release()
	node := newNode(c, log)
	defer func() { node.close() }()
	if err := node.fits(); err != nil {
		return usageError{err}
	}

	exporter := metrics.NewExporter(log.Named("metrics"))
	defer exporter.Close()
	exporter.Apply(metricsOf(c))
	notifier := notify.New(log.Named("notify"))
	defer notifier.Close()
	notifier.Apply(notifications(c))

	// The announcer and the watcher end with the daemon, not before they have been waited for.
	ctx, cancel := context.WithCancel(cmd.Context())
	defer cancel()
	announcer := renew.NewAnnouncer(log.Named("announce"), clock)
	announcer.Apply(announced(c, node))
	told := make(chan struct{})
	go func() { defer close(told); announcer.Run(ctx) }()
	defer func() { cancel(); <-told }()

	loop := &renew.Loop{Node: &node.Node, Interval: c.Check.Interval, Retry: c.Check.Retry, Notify: systemd.NewNotifier(), Report: reporters{exporter, notifier, announcer}}
	if watcher, err := renew.NewWatcher(c.Check.Settle, log.Named("watch")); err != nil {
		log.Warn("no file events", zap.Error(err))
	} else {
		loop.Wake, loop.Watch = watcher.Wake(), watcher.Watch
		done := make(chan struct{})
		go func() { defer close(done); watcher.Run(ctx) }()
		defer func() { cancel(); <-done }()
	}

	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	loop.Hangup = hangup
	loop.Reload = func(l *renew.Loop) {
		c, err := load(cmd)
		if err == nil {
			next := newNode(c, log)
			if err = next.fits(); err == nil {
				node.close()
				node = next
				exporter.Apply(metricsOf(c))
				notifier.Apply(notifications(c))
				announcer.Apply(announced(c, node))
				l.Node, l.Interval, l.Retry = &next.Node, c.Check.Interval, c.Check.Retry
				log.Info("configuration read again", zap.String("message_id", renew.EventReloaded))
				return
			}
			next.close()
		}
		log.Error("configuration refused; the old one stays in force", zap.String("message_id", renew.EventReloaded), zap.Error(err))
	}
	log.Info("kubecertd started", zap.String("message_id", renew.EventStarted), zap.String("version", version),
		zap.Stringer("renew_before", node.Policy), zap.Duration("check_interval", c.Check.Interval))
	return loop.Run(ctx)
}
