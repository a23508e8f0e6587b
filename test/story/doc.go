// Package story is what the stories told on real control planes have in common: a node
// of the lab in the hands of one test, the package that is installed on it, and what is
// seen of it by other means than kubecertd's own.
package story
