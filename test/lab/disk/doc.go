// Package disk is a file system for tests that really loses what had not been synced
// when its power is cut.
//
// It is mounted through FUSE and keeps everything in memory: the files, and a log of
// every change in order. What a cut leaves is worked out from the log, by the rules of
// POSIX and of the usual file systems of Linux. Killing a process, or a whole node of
// the lab, shows nothing of the kind: the kernel lives on and writes everything out.
//
// The rules, for each change since the inode or directory it belongs to was synced:
//
//   - The data of a file may be lost, whole or in part, or be zeros of the right size.
//   - A name that was made, changed or removed may still be what it was; a rename has
//     happened or has not, never half of it.
//   - fsync of a file saves its data and attributes, not its name. On a journaling file
//     system it saves all names too; both are tried.
//   - fsync of a directory saves the names in it, not what they name.
//
// The log also gives every state in which the power could have been cut, without a
// mount, so that a test can go over thousands of them.
package disk
