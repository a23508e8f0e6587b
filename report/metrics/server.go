package metrics

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"regexp"
	goruntime "runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
	"go.uber.org/zap"

	"github.com/kubecertd/kubecertd/renew"
)

// grace is how long a scrape may take that is under way at the end.
const grace = 3 * time.Second

// Server gives the metrics to Prometheus.
type Server struct {
	Listen    string // an address, such as 127.0.0.1:9643
	WebConfig string // a file of exporter-toolkit; empty is neither TLS nor users
	Metrics   *Metrics
	// Retry is how soon it is tried again to listen. Who has the port may leave at any
	// time, and a file that is wrong may be put right.
	Retry time.Duration
	Log   *zap.Logger
}

// CheckWebConfig says why a file with TLS and users cannot be used; none is always right.
// The parser quotes how a value begins that it does not understand, which may be a password
// in the wrong place.
func CheckWebConfig(file string) error {
	if err := web.Validate(file); err != nil {
		why := quoted.ReplaceAllString(strings.Join(strings.Fields(err.Error()), " "), "`…`")
		return fmt.Errorf("metrics.webConfig: %s: %s: see https://prometheus.io/docs/prometheus/latest/configuration/https/", file, why)
	}
	return nil
}

var quoted = regexp.MustCompile("`[^`]*`")

// Run serves until the context ends. That it cannot listen is said once, and tried again:
// certificates are renewed also where nobody can be told.
func (s Server) Run(ctx context.Context) {
	told := ""
	for {
		err := s.serve(ctx, func() { told = "" })
		if ctx.Err() != nil {
			return
		}
		if text := reason(err); text != told {
			told = text
			s.Log.Error("the metrics are not served, and it is tried again", zap.String("message_id", renew.EventNotice),
				zap.String("listen", s.Listen), zap.Duration("again_in", s.Retry), zap.Error(err))
		} else {
			s.Log.Debug("the metrics are still not served", zap.Error(err))
		}
		again := time.NewTimer(s.Retry)
		select {
		case <-ctx.Done():
			again.Stop()
			return
		case <-again.C:
		}
	}
}

// serve listens until the context ends, or until it cannot.
func (s Server) serve(ctx context.Context, listening func()) error {
	// The toolkit says it only when it serves already, or at each request.
	if err := CheckWebConfig(s.WebConfig); err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.Listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w: choose another address, or see who has it: ss -ltnp", err)
	}
	listening()
	s.Log.Info("metrics are served", zap.String("listen", listener.Addr().String()), zap.String("web_config", s.WebConfig))
	server := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: 5 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	ended := make(chan error, 1)
	go func() {
		ended <- web.Serve(listener, server, &web.FlagConfig{WebConfigFile: &s.WebConfig}, slog.New(slog.DiscardHandler))
	}()
	select {
	case err := <-ended:
		return errors.Join(err, ignoreClosed(listener.Close()))
	case <-ctx.Done():
	}
	patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if server.Shutdown(patience) != nil {
		_ = server.Close()
	}
	// Where it had not begun to serve, Shutdown does not know of the listener.
	return errors.Join(ignoreClosed(listener.Close()), ignoreClosed(<-ended))
}

// Handler answers for /metrics alone. What it answers with is ready (Metrics.publish); it
// is not compressed, which would cost more than it saves next door.
func (s Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", tidy(promhttp.HandlerFor(s.Metrics, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, DisableCompression: true, MaxRequestsInFlight: 4,
	})))
	return mux
}

// tidyAfter is how many scrapes may leave their garbage: half a megabyte.
const tidyAfter = 64

// tidy collects what scrapes leave. Between looks nobody else does (renew.Loop), and a
// scrape every few seconds would make the idle daemon grow for an hour.
func tidy(next http.Handler) http.Handler {
	var scrapes atomic.Uint64
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		if scrapes.Add(1)%tidyAfter == 0 {
			goruntime.GC()
		}
	})
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// reason is what is wrong without the names in it that change from one attempt to the next.
func reason(err error) string {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case err == nil:
		return ""
	case errors.As(err, &path):
		return path.Op + ": " + path.Err.Error()
	case errors.As(err, &link):
		return link.Op + ": " + link.Err.Error()
	default:
		return err.Error()
	}
}
