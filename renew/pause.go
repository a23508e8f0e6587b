package renew

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/kubecertd/kubecertd/pki"
)

// Pause is a person's word that nothing is to be touched for a while.
type Pause struct {
	Since time.Time `json:"since"`
	// Until is when it ends by itself; zero when only `kubecertd resume` ends it.
	Until  time.Time `json:"until,omitzero"`
	Reason string    `json:"reason,omitempty"`
	By     string    `json:"by,omitempty"`
}

// String says how long, why and by whom.
func (p Pause) String() string {
	text := "paused until resumed"
	if !p.Until.IsZero() {
		text = "paused until " + p.Until.UTC().Format(pki.TimeLayout)
	}
	switch {
	case p.By != "" && p.Reason != "":
		return fmt.Sprintf("%s (by %s: %s)", text, p.By, p.Reason)
	case p.By != "":
		return fmt.Sprintf("%s (by %s)", text, p.By)
	case p.Reason != "":
		return fmt.Sprintf("%s (%s)", text, p.Reason)
	default:
		return text
	}
}

// pauseFile is the marker. It has a directory of its own, so that the daemon can
// watch it without being woken by what it writes itself.
const (
	maintenanceDir = "maintenance"
	pauseFile      = maintenanceDir + "/paused.json"
)

// Pause keeps every run from beginning from now on, in this process and in others,
// across restarts. A run that is under way is not stopped by it. It replaces a pause
// that was there.
func (s State) Pause(p Pause) error {
	content, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return err
	}
	if err := s.write(pauseFile, append(content, '\n')); err != nil {
		return fmt.Errorf("not paused: %s: %w", s.path(pauseFile), err)
	}
	return nil
}

// Resume ends a pause, also one that cannot be read. was says whether there was any.
func (s State) Resume() (was bool, err error) {
	err = os.Remove(s.path(pauseFile))
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err == nil {
		err = syncDir(s.path(maintenanceDir))
	}
	if err != nil {
		return true, fmt.Errorf("not resumed: %w", err)
	}
	return true, nil
}

// Paused is the pause that is in force, or nil. A marker that cannot be read counts
// as one: whoever put it there did not want anything to be touched.
func (s State) Paused(now time.Time) *Pause {
	path := s.path(pauseFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	p := &Pause{}
	if err == nil {
		err = json.Unmarshal(content, p)
	}
	if err != nil {
		return &Pause{Reason: fmt.Sprintf("%s cannot be read (%v): 'kubecertd resume' removes it", path, err)}
	}
	if !p.Until.IsZero() && !now.Before(p.Until) {
		return nil
	}
	return p
}

// RunUnderWay says whether a run is under way, and by which process.
func (s State) RunUnderWay() (pid string, yes bool) {
	release, err := s.lockRun()
	var locked *LockedError
	if errors.As(err, &locked) {
		return locked.PID, true
	}
	if err == nil {
		release()
	}
	return "", false
}

// maintenance is the directory of the marker, to be watched.
func (s State) maintenance() string { return filepath.Clean(s.path(maintenanceDir)) }
