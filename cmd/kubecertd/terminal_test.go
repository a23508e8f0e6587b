package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/report"
)

func TestTerminalView(t *testing.T) {
	for _, tt := range []struct {
		name  string
		is    bool
		color string
		wide  int
		env   map[string]string
		shows bool
		view  report.View
	}{
		{name: "a terminal", is: true, color: "auto", wide: 132, env: map[string]string{"TERM": "xterm", "LANG": "en_US.UTF-8"},
			shows: true, view: report.View{Width: 132, Color: true, UTF8: true}},
		{name: "a pipe", color: "auto", env: map[string]string{"TERM": "xterm"}, view: report.View{Width: 80}},
		{name: "no colour wanted", is: true, color: "auto", wide: 80, env: map[string]string{"TERM": "xterm", "NO_COLOR": "1"},
			shows: true, view: report.View{Width: 80}},
		{name: "an empty NO_COLOR says nothing", is: true, color: "auto", wide: 80, env: map[string]string{"TERM": "xterm", "NO_COLOR": ""},
			shows: true, view: report.View{Width: 80, Color: true}},
		{name: "a dumb one", is: true, color: "auto", wide: 80, env: map[string]string{"TERM": "dumb"},
			shows: true, view: report.View{Width: 80}},
		{name: "one of which nothing is known", is: true, color: "auto", env: map[string]string{"COLUMNS": "60"},
			shows: true, view: report.View{Width: 60}},
		{name: "a pager", color: "always", env: map[string]string{"NO_COLOR": "1"}, shows: true, view: report.View{Width: 80, Color: true}},
		{name: "never", is: true, color: "never", wide: 80, env: map[string]string{"TERM": "xterm"}, shows: true, view: report.View{Width: 80}},
		{name: "the locale of the letters", is: true, color: "never", wide: 80, env: map[string]string{"LC_ALL": "C", "LANG": "de_DE.utf8"},
			shows: true, view: report.View{Width: 80}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, name := range []string{"TERM", "NO_COLOR", "COLUMNS", "LC_ALL", "LC_CTYPE", "LANG"} {
				t.Setenv(name, tt.env[name])
			}
			term := terminal{is: tt.is, color: tt.color, size: func() (int, int) { return tt.wide, 0 }}
			if got := term.shows(); got != tt.shows {
				t.Errorf("written for a terminal: %v, want %v", got, tt.shows)
			}
			if diff := cmp.Diff(tt.view, term.view()); diff != "" {
				t.Errorf("view (-want +got)\n%s", diff)
			}
		})
	}
}

// It is drawn again after each wait, ends when it is told to, and leaves the terminal as
// it was, with the last picture.
func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		var out bytes.Buffer
		began, at := time.Now(), []time.Duration{}
		term := terminal{out: &out, is: true, size: func() (int, int) { return 80, 24 }}
		err := term.watch(ctx, 2*time.Second, func(context.Context) (string, error) {
			at = append(at, time.Since(began))
			return fmt.Sprintf("picture %d\nof it\n", len(at)), nil
		})
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]time.Duration{0, 2 * time.Second, 4 * time.Second}, at); diff != "" {
			t.Errorf("drawn at (-want +got)\n%s", diff)
		}
		want := enter
		for n := 1; n <= 3; n++ {
			want += fmt.Sprintf("\x1b[Hpicture %d\x1b[K\nof it\x1b[J", n)
		}
		if diff := cmp.Diff(want+leave+"picture 3\nof it\n", out.String()); diff != "" {
			t.Errorf("written (-want +got)\n%s", diff)
		}
	})
}

// One that fails leaves the terminal as it was, too.
func TestWatchFails(t *testing.T) {
	var out bytes.Buffer
	failure := errors.New("no more")
	term := terminal{out: &out, size: func() (int, int) { return 80, 24 }}
	if err := term.watch(t.Context(), time.Second, func(context.Context) (string, error) { return "", failure }); !errors.Is(err, failure) {
		t.Errorf("it ended with %v", err)
	}
	if !strings.HasSuffix(out.String(), leave) {
		t.Errorf("the terminal is left at %q", out.String())
	}
}

func TestScreenful(t *testing.T) {
	for _, tt := range []struct {
		name, text    string
		width, height int
		want          string
	}{
		{"it fits", "a\nb\n", 80, 2, "a\nb"},
		{"it does not", "a\nb\nc\nd\n", 80, 3, "a\nb\n(2 more lines)"},
		{"a long line takes several", strings.Repeat("a", 25) + "\nb\nc\n", 10, 4, strings.Repeat("a", 25) + "\n(2 more lines)"},
		{"the height is not known", "a\nb\n", 80, 0, "a\nb\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := screenful(tt.text, tt.width, tt.height); got != tt.want {
				t.Errorf("shows %q, want %q", got, tt.want)
			}
		})
	}
}
