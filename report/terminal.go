package report

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/kubecertd/kubecertd/pki"
	"github.com/kubecertd/kubecertd/renew"
)

// View is the terminal that a status is shown on.
type View struct {
	Width int // in columns
	Color bool
	// UTF8 says that it can show bars and dots that ASCII has not.
	UTF8 bool
}

// WriteTerminal writes the status for a person at a terminal: the worst first, and only
// as many columns as fit. Programs and pipes get WriteTable.
func (s Status) WriteTerminal(w io.Writer, v View) error {
	rows := s.worstFirst()
	var b bytes.Buffer
	if len(rows) > 0 {
		v.wrap(&b, s.summary(rows))
		b.WriteString("\n")
		v.table(&b, s.columns(v, rows), len(rows))
	}
	var footer bytes.Buffer
	s.writeFooter(&footer)
	below := strings.TrimRight(footer.String(), "\n")
	if len(rows) == 0 { // nothing is above it
		below = strings.TrimLeft(below, "\n")
	}
	for _, line := range strings.Split(below, "\n") {
		v.wrap(&b, line)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// worstFirst are the certificates that are shown, and among equals what ends first.
func (s Status) worstFirst() []Certificate {
	rows := slices.DeleteFunc(slices.Clone(s.Certificates), func(c Certificate) bool { return c.State == pki.Missing && c.Optional })
	slices.SortStableFunc(rows, func(a, b Certificate) int {
		return cmp.Or(cmp.Compare(badness(a), badness(b)), cmp.Compare(zeroLast(a), zeroLast(b)), a.NotAfter.Compare(b.NotAfter))
	})
	return rows
}

func zeroLast(c Certificate) int {
	if c.NotAfter.IsZero() {
		return 1
	}
	return 0
}

// The ways in which a cell is coloured: the numbers of ECMA-48, which every terminal with
// colours knows.
const (
	red    = "1;31"
	yellow = "33"
	green  = "32"
	faint  = "2"
	bold   = "1"
)

// badness orders certificates, and style colours them; 0 is the worst.
func badness(c Certificate) int {
	switch {
	case c.State == pki.Expired, c.State == pki.Invalid, c.State == pki.Missing:
		return 0
	case c.Loaded == renew.Stale:
		return 1
	case c.State == pki.Due:
		return 2
	case c.State == pki.Unknown:
		return 3
	case c.State == pki.External:
		return 4
	default:
		return 5
	}
}

func style(state pki.State) string {
	switch state {
	case pki.Expired, pki.Invalid, pki.Missing:
		return red
	case pki.Due:
		return yellow
	case pki.OK:
		return green
	default:
		return faint
	}
}

// summary counts the states, in the order of the rows.
func (s Status) summary(rows []Certificate) string {
	counts, stale := map[pki.State]int{}, 0
	var states []pki.State
	for _, c := range rows {
		if counts[c.State]++; counts[c.State] == 1 {
			states = append(states, c.State)
		}
		if c.Loaded == renew.Stale {
			stale++
		}
	}
	var parts []string
	for _, state := range states {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
	}
	if stale > 0 {
		parts = append(parts, fmt.Sprintf("%d not loaded", stale))
	}
	return fmt.Sprintf("%s at %s: %s", certificates(len(rows)), s.At.UTC().Format(pki.TimeLayout), strings.Join(parts, ", "))
}

// certificates counts them.
func certificates(n int) string {
	if n == 1 {
		return "1 certificate"
	}
	return fmt.Sprintf("%d certificates", n)
}

// cell is a text and how it is coloured. brief is what is said where that is too long.
type cell struct{ text, style, brief string }

// column is one of the table.
type column struct {
	title string
	cells []cell
	// least is how narrow it may become; 0 means that it cannot. Before it is narrower than
	// fair, others are left out.
	least, fair int
	// front is cut off instead of the end: of a path the end tells more.
	front bool
	// rank says which columns are left out first where it is narrow: the highest.
	rank int
}

func (c column) natural() int {
	width := utf8.RuneCountInString(c.title)
	for _, cell := range c.cells {
		width = max(width, utf8.RuneCountInString(cell.text))
	}
	return width
}

// modest is how wide it is where others want to be there, too.
func (c column) modest() int {
	if c.least == 0 {
		return c.natural()
	}
	return min(c.natural(), max(c.least, c.fair))
}

// columns are all that a status has, from left to right.
func (s Status) columns(v View, rows []Certificate) []column {
	columns := []column{
		{title: "CERTIFICATE", least: 12, fair: len("apiserver-kubelet-client"), rank: 0},
		{title: "STATE", rank: 0},
		{title: "LIFE", rank: 2},
		{title: "LEFT", rank: 0},
		{title: "EXPIRES", least: len(time.DateOnly), rank: 3},
		{title: "RENEWS IN", rank: 4},
		{title: "LOADED", least: len("in memory"), rank: 1},
	}
	for _, c := range rows {
		loaded := cell{text: s.loaded(c), brief: string(c.Loaded)}
		switch {
		case c.Kind == pki.Memory && !s.Disk:
			loaded = cell{text: "in memory", style: faint}
		case c.Loaded == renew.Stale:
			loaded.style = yellow
		case c.Loaded != renew.Loaded:
			loaded.style = faint
		}
		for i, cell := range []cell{
			{text: printable(c.Name)},
			{text: string(c.State), style: style(c.State)},
			{text: v.bar(c, s.At), style: style(c.State)},
			{text: remaining(c.NotAfter, s.At), style: style(c.State)},
			{text: date(c.NotAfter), brief: strings.Split(date(c.NotAfter), " ")[0]},
			{text: renews(c, s.At)},
			loaded,
		} {
			columns[i].cells = append(columns[i].cells, cell)
		}
		columns[0].front = columns[0].front || c.Watched
	}
	return columns
}

// barWidth is the width of a bar.
const barWidth = 10

// bar is how much of its life a certificate has left.
func (v View) bar(c Certificate, now time.Time) string {
	begin := c.Issued
	if begin.IsZero() {
		begin = c.NotBefore
	}
	life, left := c.NotAfter.Sub(begin), c.NotAfter.Sub(now)
	if c.NotAfter.IsZero() || begin.IsZero() || life <= 0 {
		return "-"
	}
	full := 0
	if left > 0 { // and be it a minute
		full = min(1+int(float64(left)/float64(life)*(barWidth-1)+0.5), barWidth)
	}
	on, off := "#", "."
	if v.UTF8 {
		on, off = "█", "░"
	}
	return strings.Repeat(on, full) + strings.Repeat(off, barWidth-full)
}

// gap is what is between two columns.
const gap = "  "

// table writes the columns that fit, narrower where that is not enough.
func (v View) table(b *bytes.Buffer, columns []column, rows int) {
	columns, widths := v.fit(columns)
	line := func(of func(column) cell) {
		for i, c := range columns {
			last := i == len(columns)-1
			cell := of(c)
			text := cell.text
			if cell.brief != "" && utf8.RuneCountInString(text) > widths[i] {
				text = cell.brief // who it is, the lines below the table say
			}
			text = v.cut(text, widths[i], c.front)
			padding := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(text))
			b.WriteString(v.paint(text, cell.style))
			if !last {
				b.WriteString(padding + gap)
			}
		}
		b.WriteString("\n")
	}
	line(func(c column) cell { return cell{text: c.title, style: bold} })
	for i := range rows {
		line(func(c column) cell { return c.cells[i] })
	}
}

// fit chooses the columns and their widths.
func (v View) fit(columns []column) ([]column, []int) {
	for rank := 0; ; rank++ {
		if !slices.ContainsFunc(columns, func(c column) bool { return c.rank > rank }) {
			break
		}
		if total(upTo(columns, rank+1), column.modest) > v.Width {
			columns = upTo(columns, rank)
			break
		}
	}
	widths := make([]int, len(columns))
	over := total(columns, column.natural) - v.Width
	for i, c := range slices.Backward(columns) {
		widths[i] = c.natural()
		if give := min(over, widths[i]-c.least); c.least > 0 && give > 0 {
			widths[i], over = widths[i]-give, over-give
		}
	}
	return columns, widths
}

// upTo are the columns up to a rank.
func upTo(columns []column, rank int) []column {
	return slices.DeleteFunc(slices.Clone(columns), func(c column) bool { return c.rank > rank })
}

// total is how wide columns are together.
func total(columns []column, each func(column) int) int {
	width := len(gap) * (len(columns) - 1)
	for _, c := range columns {
		width += each(c)
	}
	return width
}

// cut shortens a text to a width.
func (v View) cut(text string, width int, front bool) string {
	runes := []rune(text)
	if len(runes) <= width {
		return text
	}
	more := ".."
	if v.UTF8 {
		more = "…"
	}
	keep := max(width-utf8.RuneCountInString(more), 0)
	if front && strings.HasPrefix(text, "/") {
		return more + string(runes[len(runes)-keep:])
	}
	return string(runes[:keep]) + more
}

func (v View) paint(text, style string) string {
	if !v.Color || style == "" || text == "" {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

// wrap breaks a sentence between words. What is longer than a line stays whole, so that
// a path can be copied.
func (v View) wrap(b *bytes.Buffer, text string) {
	const indent = "  "
	line, width := "", 0
	for _, word := range strings.Fields(printable(text)) {
		n := utf8.RuneCountInString(word)
		switch {
		case line == "":
			line, width = word, n
		case width+1+n > v.Width:
			b.WriteString(line + "\n")
			line, width = indent+word, len(indent)+n
		default:
			line, width = line+" "+word, width+1+n
		}
	}
	b.WriteString(line + "\n")
}
