package configs

import (
	"errors"
	"math"
	"strconv"
	"strings"
	"time"
)

// Threshold is how long before its end a certificate is renewed: an absolute time,
// a share of the certificate's lifetime, or whichever of the two is shorter for the
// certificate at hand. The latter suits certificates of a year and of an hour alike.
//
// Its text is "720h", "30d", "33%" or "30d, 33%".
type Threshold struct {
	// Before is the absolute time; 0 means not set.
	Before time.Duration
	// Share is above 0 and below 1; 0 means not set.
	Share float64
}

// thresholdForms ends every error about a threshold's text.
const thresholdForms = "write a duration such as 720h or 30d, a share of the lifetime such as 33%, or both separated by a comma"

// String is the text form.
func (t Threshold) String() string {
	switch {
	case t.Share == 0:
		return FormatDuration(t.Before)
	case t.Before == 0:
		return formatShare(t.Share)
	default:
		return FormatDuration(t.Before) + ", " + formatShare(t.Share)
	}
}

// MarshalText writes the form that UnmarshalText reads back exactly.
func (t Threshold) MarshalText() ([]byte, error) {
	return []byte(t.String()), nil
}

// UnmarshalText reads a duration, a share, or one of each in either order.
func (t *Threshold) UnmarshalText(text []byte) error {
	var read Threshold
	parts := strings.Split(string(text), ",")
	if len(parts) > 2 {
		return errors.New("has more than two parts")
	}
	for _, part := range parts {
		part = strings.TrimSpace(part)
		if percent, ok := strings.CutSuffix(part, "%"); ok {
			if read.Share != 0 {
				return errors.New("has two shares")
			}
			share, err := parseShare(strings.TrimSpace(percent))
			if err != nil {
				return err
			}
			read.Share = share
			continue
		}
		before, err := ParseDuration(part)
		if err != nil {
			return errors.New("is neither a duration nor a share")
		}
		if read.Before != 0 {
			return errors.New("has two durations")
		}
		if before <= 0 {
			return errors.New("must be more than nothing")
		}
		read.Before = before
	}
	*t = read
	return nil
}

// parseShare reads what stands before the percent sign. The exponent is appended
// instead of dividing by 100 because dividing would round a second time.
func parseShare(percent string) (float64, error) {
	if percent == "" || strings.Trim(percent, "0123456789.") != "" {
		return 0, errors.New("is not a share")
	}
	share, err := strconv.ParseFloat(percent+"e-2", 64)
	if err != nil {
		return 0, errors.New("is not a share")
	}
	if share <= 0 || share >= 1 {
		return 0, errors.New("must be a share above 0% and below 100%")
	}
	return share, nil
}

// formatShare moves the decimal point by two places, in the text, for the same
// reason.
func formatShare(share float64) string {
	if share <= 0 || share >= 1 || math.IsNaN(share) {
		return strconv.FormatFloat(share*100, 'f', -1, 64) + "%"
	}
	digits := strings.TrimPrefix(strconv.FormatFloat(share, 'f', -1, 64), "0.")
	for len(digits) < 2 {
		digits += "0"
	}
	percent := strings.TrimLeft(digits[:2], "0")
	if percent == "" {
		percent = "0"
	}
	if digits[2:] != "" {
		percent += "." + digits[2:]
	}
	return percent + "%"
}
