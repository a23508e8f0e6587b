// Package report shows what was seen and decided, to people and to machines, by
// the same names everywhere. It shows; it decides nothing.
package report
