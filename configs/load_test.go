package configs_test

import (
	"flag"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/spf13/pflag"

	"github.com/kubecertd/kubecertd/configs"
)

var update = flag.Bool("update", false, "write what is said now into testdata")

// Each archive in testdata is a file, an environment and flags, and what is said
// about them. FILE stands for the file's path.
func TestProblems(t *testing.T) {
	archives, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(archives) == 0 {
		t.Fatalf("no archives in testdata: %v", err)
	}
	for _, name := range archives {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range archive.Files {
				files[f.Name] = string(f.Data)
			}
			for _, line := range strings.Split(strings.TrimSpace(files["env"]), "\n") {
				if name, value, ok := strings.Cut(line, "="); ok {
					t.Setenv(name, value)
				}
			}
			file := write(t, files["kubecertd.yaml"])
			_, err = configs.Load(file, true, flags(t, strings.Fields(files["flags"])...))
			got := "the configuration is good\n"
			if err != nil {
				got = strings.ReplaceAll(err.Error(), file, "FILE") + "\n"
			}
			if *update {
				archive.Files[len(archive.Files)-1] = txtar.File{Name: "want", Data: []byte(got)}
				if err := os.WriteFile(name, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(files["want"], got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestOrder(t *testing.T) {
	file := write(t, "renew:\n  before: 10d\n  timeout: 2m\ncheck:\n  interval: 2h\n  settle: 2s\nlog: {level: debug}\n")
	t.Setenv("KUBECERTD_RENEW_TIMEOUT", "90s")
	t.Setenv("KUBECERTD_CHECK_INTERVAL", "3h")
	t.Setenv("KUBECERTD_RESTART_GRACE_KUBE_APISERVER", "3s")
	t.Setenv("KUBECERTD_RUNTIME_ENDPOINT", "")
	t.Setenv("KUBECERTD_WATCH_FILES", "/etc/haproxy, /etc/ssl/*.pem")
	got, err := configs.Read(file, true, flags(t, "--check-interval=4h", "--restart-grace-alone=4s"))
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Default()
	want.Renew.Before = configs.Threshold{Before: 240 * time.Hour}
	want.Renew.Timeout = 90 * time.Second
	want.Check.Interval = 4 * time.Hour
	want.Check.Settle = 2 * time.Second
	want.Watch.Files = configs.List{"/etc/haproxy", "/etc/ssl/*.pem"}
	want.Restart.Grace.APIServer = 3 * time.Second
	want.Restart.GraceAlone = 4 * time.Second
	want.Log.Level = "debug"
	if diff := cmp.Diff(want, got.Config); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	origin := map[string]string{}
	for key, from := range got.Origin {
		if from != "default" {
			origin[key] = strings.TrimPrefix(from, file)
		}
	}
	wantOrigin := map[string]string{
		"renew.before":                 ":2",
		"renew.timeout":                "KUBECERTD_RENEW_TIMEOUT",
		"check.interval":               "--check-interval",
		"check.settle":                 ":6",
		"restart.grace.kube-apiserver": "KUBECERTD_RESTART_GRACE_KUBE_APISERVER",
		"restart.graceAlone":           "--restart-grace-alone",
		"runtime.endpoint":             "KUBECERTD_RUNTIME_ENDPOINT",
		"watch.files":                  "KUBECERTD_WATCH_FILES",
		"log.level":                    ":7",
	}
	if diff := cmp.Diff(wantOrigin, origin); diff != "" {
		t.Errorf("origins (-want +got)\n%s", diff)
	}
	if len(got.Origin) != len(configs.Keys()) {
		t.Errorf("%d keys have an origin, want all %d", len(got.Origin), len(configs.Keys()))
	}
}

// What sets nothing is the defaults.
func TestNothingSet(t *testing.T) {
	for name, content := range map[string]string{
		"empty file":        "",
		"comments alone":    "# nothing\n\n# here\n",
		"document mark":     "---\n",
		"byte order mark":   "\ufeff# nothing\n",
		"empty sections":    "renew:\ncheck: ~\nrestart:\n  grace:\n",
		"windows line ends": "log:\r\n  level: info\r\n",
		"one line":          "{}",
		"anchors":           "renew: {timeout: &t 1m}\nlog: {level: info}\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := configs.Load(write(t, content), true, nil)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(configs.Default(), c); diff != "" {
				t.Errorf("(-default +got)\n%s", diff)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put := func(name, content string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(content), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(at(name), mode); err != nil {
			t.Fatal(err)
		}
	}
	put("good", "log: {level: debug}\n", 0o600)
	put("large", strings.Repeat("#", 1<<20+1), 0o644)
	put("latin", "log: {level: \xe4}\n", 0o644)
	put("zero", "log:\x00\n", 0o644)
	for link, target := range map[string]string{"dangling": at("nowhere"), "loop": at("loop"), "link": at("good")} {
		if err := os.Symlink(target, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	listener, err := net.Listen("unix", at("socket"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()

	for _, c := range []struct {
		file     string
		explicit bool
		want     string // after the path; empty for no error
	}{
		{file: "good", explicit: true},
		{file: "link", explicit: true},
		{file: "nowhere"},
		{file: "no/where"},
		{file: "nowhere", explicit: true, want: ": does not exist: name an existing file, or none to use the defaults"},
		{file: "dangling", want: ": is a link to " + at("nowhere") + ", which does not exist: put the file there or remove the link"},
		{file: "loop", want: ": cannot be opened: too many levels of symbolic links: make it a file that this user can read"},
		{file: "good/x", want: ": cannot be opened: not a directory: make it a file that this user can read"},
		{file: ".", want: ": is a directory: name the file, such as " + at("kubecertd.yaml")},
		{file: "socket", want: ": cannot be opened: no such device or address: make it a file that this user can read"},
		{file: "large", want: ": is larger than 1024 KiB: this is not a configuration of kubecertd; name the right file"},
		{file: "latin", want: ": is not UTF-8 text: save it as UTF-8, or name the right file"},
		{file: "zero", want: ": is not valid YAML: control characters are not allowed: see kubecertd.yaml as it is shipped for how it is written"},
	} {
		t.Run(c.file, func(t *testing.T) {
			_, err := configs.Load(at(c.file), c.explicit, nil)
			switch {
			case c.want == "" && err != nil:
				t.Errorf("got %v, want no error", err)
			case c.want != "" && (err == nil || err.Error() != at(c.file)+c.want):
				t.Errorf("got  %v\nwant %s", err, at(c.file)+c.want)
			}
		})
	}
	if _, err := configs.Load("/dev/null", true, nil); err == nil || !strings.Contains(err.Error(), "is not a regular file") {
		t.Errorf("/dev/null: got %v, want that it is not a regular file", err)
	}
	if _, err := configs.Load("", false, nil); err != nil {
		t.Errorf("no file: %v", err)
	}
}

// The file names a program that root runs, so whoever can write it is root.
func TestFileThatOthersCanWrite(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("not root, which alone refuses such files")
	}
	for _, c := range []struct {
		mode     os.FileMode
		uid, gid int
		want     string
	}{
		{mode: 0o644},
		{mode: 0o664}, // the group root
		{mode: 0o664, gid: 50, want: "can be written by others than root (got mode 0664); it names a program that root runs: chmod go-w "},
		{mode: 0o646, want: "can be written by others than root (got mode 0646); it names a program that root runs: chmod go-w "},
		{mode: 0o600, uid: 1000, want: "does not belong to root (got user id 1000); it names a program that root runs: chown root: "},
	} {
		file := write(t, "log: {level: debug}\n")
		if err := os.Chown(file, c.uid, c.gid); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		got, err := configs.Load(file, true, nil)
		switch {
		case c.want == "" && (err != nil || got.Log.Level != "debug"):
			t.Errorf("%v of %d:%d: got %v, %v, want it to be read", c.mode, c.uid, c.gid, got.Log, err)
		case c.want != "" && (err == nil || err.Error() != file+": "+c.want+file):
			t.Errorf("%v of %d:%d: got %v, want %s", c.mode, c.uid, c.gid, err, c.want)
		}
	}
}

// flags are those that a command may have, with arguments given to them.
func flags(t *testing.T, args ...string) *pflag.FlagSet {
	t.Helper()
	set := pflag.NewFlagSet("kubecertd", pflag.ContinueOnError)
	set.String("check-interval", "", "")
	set.String("restart-grace-alone", "1s", "")
	set.Duration("restart-healthy", time.Second, "")
	set.Bool("verbose", false, "")
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return set
}
