package configs_test

import (
	"encoding"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/kubecertd/kubecertd/configs"
)

var (
	_ encoding.TextMarshaler   = configs.Threshold{}
	_ encoding.TextUnmarshaler = (*configs.Threshold)(nil)
)

func TestThreshold(t *testing.T) {
	const day = 24 * time.Hour
	for text, want := range map[string]struct {
		threshold configs.Threshold
		text      string
	}{
		"720h":           {configs.Threshold{Before: 30 * day}, "30d"},
		"30d12h":         {configs.Threshold{Before: 30*day + 12*time.Hour}, "30d12h"},
		"33%":            {configs.Threshold{Share: 0.33}, "33%"},
		"33 %":           {configs.Threshold{Share: 0.33}, "33%"},
		"30d, 33%":       {configs.Threshold{Before: 30 * day, Share: 0.33}, "30d, 33%"},
		"33%,30d":        {configs.Threshold{Before: 30 * day, Share: 0.33}, "30d, 33%"},
		"33.3%":          {configs.Threshold{Share: 0.333}, "33.3%"},
		"0.5%":           {configs.Threshold{Share: 0.005}, "0.5%"},
		"50%":            {configs.Threshold{Share: 0.5}, "50%"},
		"7%":             {configs.Threshold{Share: 0.07}, "7%"},
		"99.99%":         {configs.Threshold{Share: 0.9999}, "99.99%"},
		"1h,66.6666667%": {configs.Threshold{Before: time.Hour, Share: 0.666666667}, "1h, 66.6666667%"},
	} {
		var got configs.Threshold
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want.threshold {
			t.Errorf("%q was read as %+v, %v, want %+v", text, got, err, want.threshold)
		}
		if back, err := got.MarshalText(); err != nil || string(back) != want.text {
			t.Errorf("%q is written as %q, %v, want %q", text, back, err, want.text)
		}
	}
}

func TestThresholdRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":             "neither a duration nor a share",
		",":            "neither a duration nor a share",
		"30d,":         "neither a duration nor a share",
		"soon":         "neither a duration nor a share",
		"30":           "neither a duration nor a share",
		"1/3":          "neither a duration nor a share",
		"0s":           "more than nothing",
		"-30d":         "more than nothing",
		"0%":           "above 0%",
		"100%":         "below 100%",
		"250%":         "below 100%",
		"-5%":          "not a share",
		"%":            "not a share",
		"1e1%":         "not a share",
		"NaN%":         "not a share",
		"30d, 40d":     "two durations",
		"30%, 40%":     "two shares",
		"30d, 33%, 1h": "more than two parts",
	} {
		threshold := configs.Threshold{Before: time.Hour}
		err := threshold.UnmarshalText([]byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want an error with %q", text, err, want)
		}
		if threshold != (configs.Threshold{Before: time.Hour}) {
			t.Errorf("%q: the threshold was changed to %v by a text that was refused", text, threshold)
		}
	}
}

func FuzzThreshold(f *testing.F) {
	f.Add(int64(720*time.Hour), 0.33)
	f.Add(int64(0), 1.0/3)
	f.Add(int64(1), math.Nextafter(1, 0))
	f.Add(int64(math.MaxInt64), math.SmallestNonzeroFloat64)
	f.Fuzz(func(t *testing.T, before int64, share float64) {
		want := configs.Threshold{Before: time.Duration(before), Share: share}
		valid := before >= 0 && share >= 0 && share < 1 && (before != 0 || share != 0)
		if !valid {
			t.Skip("no threshold")
		}
		text, err := want.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var got configs.Threshold
		if err := got.UnmarshalText(text); err != nil || got != want {
			t.Errorf("%+v was written as %q and read as %+v, %v", want, text, got, err)
		}
	})
}
