//go:build linux

// Package mounts takes folders away in which something may still be mounted.
// Removing through a left-over bind mount would empty a folder of the host.
package mounts

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Below lists what is mounted at dir and below it, the last mount first. The
// path has no symbolic links, as the mount table has none.
func Below(dir string) ([]string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	defer func() { _ = f.Close() }()
	var points []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 5 {
			continue
		}
		point := unescape.Replace(fields[4])
		if point == dir || strings.HasPrefix(point, dir+"/") {
			points = append(points, point)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	slices.Reverse(points)
	return points, nil
}

// unescape undoes what proc(5) does to the odd characters of a path.
var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

// Unmount unmounts all that is mounted at dir and below it.
func Unmount(dir string) error {
	points, err := Below(dir)
	if err != nil {
		return err
	}
	for _, point := range points {
		err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EBUSY) {
			// Somebody looks into it from the host; it goes when they leave.
			err = unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
	return nil
}

// RemoveTree removes dir with all in it, and refuses while anything is
// mounted there.
func RemoveTree(dir string) error {
	points, err := Below(dir)
	if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("remove %s: %s is still mounted", dir, points[0])
	}
	return os.RemoveAll(dir)
}
