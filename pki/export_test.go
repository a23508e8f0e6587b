package pki

import "time"

// SettledNow makes a cache believe what it reads at once, as if every file had been
// written long ago.
func SettledNow(c *Cache) { c.now = func() time.Time { return time.Now().Add(time.Hour) } }

// Remembered is how many files a cache remembers.
func Remembered(c *Cache) int { return len(c.files) }
