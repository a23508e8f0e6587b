package main

import (
	"github.com/kubecertd/kubecertd/configs"
	"github.com/kubecertd/kubecertd/report/metrics"
)

// metricsOf says where the metrics are given out.
func metricsOf(c configs.Config) metrics.Settings {
	return metrics.Settings{
		Options:   metrics.Options{Version: version, Interval: c.Check.Interval, X509: c.Metrics.X509},
		Listen:    c.Metrics.Listen,
		WebConfig: c.Metrics.WebConfig,
		Textfile:  c.Metrics.Textfile,
	}
}
