package configs_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubecertd/kubecertd/configs"
)

func TestWindows(t *testing.T) {
	weekdays := []time.Weekday{1, 2, 3, 4, 5}
	every := []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	for _, tt := range []struct {
		list  configs.List
		want  []configs.Window
		wrong string
	}{
		{nil, nil, ""},
		{configs.List{"Mon-Fri 01:00-05:00"}, []configs.Window{{weekdays, time.Hour, 5 * time.Hour}}, ""},
		{configs.List{"monday-FRI 1:00-05:00"}, []configs.Window{{weekdays, time.Hour, 5 * time.Hour}}, ""},
		{configs.List{"Sat,Sun 00:00-24:00"}, []configs.Window{{[]time.Weekday{0, 6}, 0, 24 * time.Hour}}, ""},
		{configs.List{"Fri-Mon 00:00-24:00"}, []configs.Window{{[]time.Weekday{0, 1, 5, 6}, 0, 24 * time.Hour}}, ""},
		{configs.List{"22:00-04:00"}, []configs.Window{{every, 22 * time.Hour, 4 * time.Hour}}, ""},
		{configs.List{"22:00-00:00"}, []configs.Window{{every, 22 * time.Hour, 0}}, ""},
		// As the environment has a list.
		{configs.List{"Sat", "Sun 00:00-24:00", "Mon 01:30-02:00"}, []configs.Window{
			{[]time.Weekday{0, 6}, 0, 24 * time.Hour}, {[]time.Weekday{1}, 90 * time.Minute, 2 * time.Hour}}, ""},
		{configs.List{"Mon-Fri"}, nil, `has no times (got "Mon-Fri")`},
		{configs.List{"Mon 01:00"}, nil, "has no end"},
		{configs.List{"Mo 01:00-02:00"}, nil, `"Mo", which is no day`},
		{configs.List{"Mon 25:00-26:00"}, nil, `"25:00", which is no time`},
		{configs.List{"Mon 01:60-02:00"}, nil, `"01:60", which is no time`},
		{configs.List{"Mon 24:01-02:00"}, nil, `"24:01", which is no time`},
		{configs.List{"Mon 01:0-02:00"}, nil, `"01:0", which is no time`},
		{configs.List{"Mon 24:00-02:00"}, nil, "opens at 24:00"},
		{configs.List{"Mon 02:00-02:00"}, nil, "ends when it opens"},
		{configs.List{"Mon 01:00-02:00 UTC"}, nil, "is no window"},
	} {
		t.Run(tt.list.String(), func(t *testing.T) {
			got, err := configs.Windows(tt.list)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if (err == nil) != (tt.wrong == "") || (err != nil && !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("%v, want %q", err, tt.wrong)
			}
		})
	}
}

// A mistake is found while a person is looking, in a file and in a variable.
func TestWindowsAreValidated(t *testing.T) {
	_, err := configs.Load(write(t, "renew:\n  windows: [\"Mon-Fri 1-5\"]\n  timezone: Europe/Berlinn\n"), true, nil)
	for _, want := range []string{`:2: renew.windows: has no times (got "Mon-Fri 1-5"): write it as "Mon-Fri 01:00-05:00"`,
		`:3: renew.timezone: is no time zone (got "Europe/Berlinn"): write a name of the IANA database`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v does not say %q", err, want)
		}
	}
	t.Setenv("KUBECERTD_RENEW_WINDOWS", "Sat,Sun 00:00-24:00,Mon-Fri 01:00-05:00")
	c, err := configs.Load(write(t, "renew: {timezone: Europe/Berlin}\n"), true, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := configs.Windows(c.Renew.Windows); err != nil || len(got) != 2 || len(got[0].Days) != 2 || len(got[1].Days) != 5 {
		t.Errorf("%+v, %v", got, err)
	}
}

// A host without the tzdata package knows its zone all the same.
func TestZonesAreInTheProgram(t *testing.T) {
	if os.Getenv("ZONEINFO") != "" {
		t.Skip("ZONEINFO names another database")
	}
	if _, err := time.LoadLocation("Europe/Berlin"); err != nil {
		t.Error(err)
	}
}
