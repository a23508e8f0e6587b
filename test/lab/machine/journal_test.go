//go:build linux

package machine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestParseJournal(t *testing.T) {
	export := `{"MESSAGE":"renewed apiserver","PRIORITY":"6","__REALTIME_TIMESTAMP":"1790000000123456","CERTIFICATE":["apiserver","etcd-server"]}
{"MESSAGE":[104,105,255],"EMPTY":null,"MIXED":["text",[0,1]],"NOTHING":[]}

`
	got, err := parseJournal([]byte(export))
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{
			"MESSAGE": "renewed apiserver", "PRIORITY": "6", "__REALTIME_TIMESTAMP": "1790000000123456",
			"CERTIFICATE": "apiserver\netcd-server",
		},
		{"MESSAGE": "hi\xff", "EMPTY": "", "MIXED": "text\n\x00\x01", "NOTHING": ""},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
	if at := got[0].Time(); !at.Equal(time.UnixMicro(1790000000123456)) {
		t.Errorf("time = %s, want the journal's", at)
	}
	if at := got[1].Time(); !at.IsZero() {
		t.Errorf("time = %s, want none", at)
	}
}

func TestParseJournalRefusesWhatIsNoExport(t *testing.T) {
	if entries, err := parseJournal([]byte("-- No entries --\n")); err == nil {
		t.Errorf("read %v, want an error", entries)
	}
}

func TestQuery(t *testing.T) {
	q := Query{Unit: "kubecertd", Since: time.UnixMicro(1790000000000042), Match: []string{"PRIORITY=3"}}
	want := []string{
		"journalctl", "--output=json", "--all", "--no-pager", "--quiet",
		"--unit=kubecertd", "--since=@1790000000.000042", "PRIORITY=3",
	}
	if diff := cmp.Diff(want, q.argv()); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
}
