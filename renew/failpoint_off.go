//go:build !failpoints

package renew

// failpoint is a place at which a test build can be cut off (failpoint.go). In the
// program that is shipped there are none.
func failpoint(string) {}
