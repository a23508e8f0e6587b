package configs_test

import (
	"math"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/configs"
)

func TestDuration(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]struct {
		duration time.Duration
		text     string
	}{
		"720h":         {30 * day, "30d"},
		"30d":          {30 * day, "30d"},
		"30d12h":       {30*day + 12*time.Hour, "30d12h"},
		"12h30d":       {30*day + 12*time.Hour, "30d12h"},
		" 2w ":         {14 * day, "14d"},
		"1w1d1h1m1s":   {8*day + time.Hour + time.Minute + time.Second, "8d1h1m1s"},
		"1m0s":         {time.Minute, "1m"},
		"90s":          {90 * time.Second, "1m30s"},
		"1h0m5s":       {time.Hour + 5*time.Second, "1h0m5s"},
		"1.5h":         {90 * time.Minute, "1h30m"},
		"500ms":        {500 * time.Millisecond, "500ms"},
		"0":            {0, "0s"},
		"0s":           {0, "0s"},
		"-1d2h":        {-26 * time.Hour, "-1d2h"},
		"106751d23h":   {106751*day + 23*time.Hour, "106751d23h"},
		"100d100d100d": {300 * day, "300d"},
	} {
		got, err := configs.ParseDuration(text)
		if err != nil || got != want.duration {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want.duration)
		}
		if s := configs.FormatDuration(got); s != want.text {
			t.Errorf("FormatDuration(%v) = %q, want %q", got, s, want.text)
		}
	}
}

func TestDurationRefused(t *testing.T) {
	for _, text := range []string{"", " ", "-", "d", "30", "30x", "30 d", "1.5d", "30days", "106752d", "106751d24h", "999999999999999999999d", "--1h", "1h-1m", "1e3s", "٣d", "30d, 33%"} {
		if got, err := configs.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzDuration(f *testing.F) {
	for _, d := range []int64{0, 1, -1, int64(time.Hour), int64(25 * time.Hour), math.MaxInt64, math.MinInt64 + 1} {
		f.Add(d)
	}
	f.Fuzz(func(t *testing.T, n int64) {
		if n == math.MinInt64 {
			t.Skip("has no positive, and no configuration holds it")
		}
		want := time.Duration(n)
		text := configs.FormatDuration(want)
		if got, err := configs.ParseDuration(text); err != nil || got != want {
			t.Errorf("%v was written as %q and read as %v, %v", want, text, got, err)
		}
	})
}
