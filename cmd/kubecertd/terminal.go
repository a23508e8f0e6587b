package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/kubecertd/kubecertd/report"
)

// terminal is where the output of a command goes.
type terminal struct {
	out   io.Writer
	is    bool   // it is one
	color string // what --color says
	// size asks for its width and height.
	size func() (width, height int)
}

// colors are what --color may be.
var colors = []string{"auto", "always", "never"}

func colorFlag(cmd *cobra.Command) {
	cmd.Flags().String("color", colors[0], "colours and layout of a terminal: one of "+strings.Join(colors, ", ")+"; auto heeds NO_COLOR and TERM=dumb")
	_ = cmd.RegisterFlagCompletionFunc("color", cobra.FixedCompletions(colors, cobra.ShellCompDirectiveNoFileComp))
}

// terminalOf is the terminal of a command that has --color.
func terminalOf(cmd *cobra.Command) (terminal, error) {
	t := terminal{out: cmd.OutOrStdout(), size: func() (int, int) { return 0, 0 }}
	t.color, _ = cmd.Flags().GetString("color")
	if !slices.Contains(colors, t.color) {
		return t, usageError{fmt.Errorf("--color %s: not one of %s", t.color, strings.Join(colors, ", "))}
	}
	if f, ok := t.out.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		t.is = true
		t.size = func() (int, int) {
			width, height, err := term.GetSize(int(f.Fd()))
			if err != nil {
				return 0, 0
			}
			return width, height
		}
	}
	return t, nil
}

// shows says whether it is to be written for a terminal: --color=always is for pagers.
func (t terminal) shows() bool { return t.is || t.color == "always" }

// view is how it is written for.
func (t terminal) view() report.View {
	return report.View{Width: t.width(), Color: t.colored(), UTF8: speaksUTF8()}
}

// colored is the agreement of no-color.org: what is asked for on the command line wins.
func (t terminal) colored() bool {
	switch t.color {
	case "always":
		return true
	case "never":
		return false
	default:
		kind := os.Getenv("TERM")
		return t.is && os.Getenv("NO_COLOR") == "" && kind != "" && kind != "dumb"
	}
}

// width is the terminal's own; where that is not known, as on a serial line, what
// $COLUMNS says, or what terminals were for most of their life.
func (t terminal) width() int {
	if width, _ := t.size(); width > 0 {
		return width
	}
	if width, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && width > 0 {
		return width
	}
	return 80
}

// speaksUTF8 goes by the first variable that is set, as setlocale(3) does.
func speaksUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if locale := strings.ToUpper(os.Getenv(name)); locale != "" {
			return strings.Contains(locale, "UTF-8") || strings.Contains(locale, "UTF8")
		}
	}
	return false
}

// What a terminal is told: its other screen, so that what was there before comes back;
// the corner; to clear the rest of the line, and what is below.
const (
	enter     = "\x1b[?1049h\x1b[?25l"
	leave     = "\x1b[?25h\x1b[?1049l"
	corner    = "\x1b[H"
	clearLine = "\x1b[K"
	clearRest = "\x1b[J"
)

// watch draws until it is told to stop. The last picture stays on the terminal.
func (t terminal) watch(ctx context.Context, every time.Duration, draw func(context.Context) (string, error)) error {
	last := ""
	if _, err := io.WriteString(t.out, enter); err != nil {
		return err
	}
	defer func() { _, _ = io.WriteString(t.out, leave+last) }()
	for {
		text, err := draw(ctx)
		if ctx.Err() != nil {
			return nil // what was seen while it stopped is half a look
		}
		if err != nil {
			return err
		}
		last = text
		_, height := t.size()
		picture := strings.ReplaceAll(screenful(text, t.width(), height), "\n", clearLine+"\n")
		if _, err := io.WriteString(t.out, corner+picture+clearRest); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// screenful is as much of a text as the screen has room for, from its beginning, which is
// the worst. A height of 0 is not known.
func screenful(text string, width, height int) string {
	if height <= 0 {
		return text
	}
	lines := strings.SplitAfter(strings.TrimSuffix(text, "\n"), "\n")
	used := 0
	for i, line := range lines {
		// Colours count as well, so that it is rather too little.
		rows := max(1, (utf8.RuneCountInString(strings.TrimSuffix(line, "\n"))+width-1)/width)
		left := len(lines) - i
		if used+rows > height-1 && left > 1 || used+rows > height {
			return strings.Join(lines[:i], "") + fmt.Sprintf("(%d more lines)", left)
		}
		used += rows
	}
	return strings.TrimSuffix(text, "\n")
}
