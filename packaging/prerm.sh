#!/bin/sh
# Before removal. dpkg calls it with "remove", "upgrade", "deconfigure" or
# "failed-upgrade"; rpm with the number of versions that will be left.
#
# An upgrade does not stop the daemon: it may be in the middle of a restart, and
# postinst of the new version replaces it.
set -e

unit=kubecertd.service
root=${DPKG_ROOT:-} # set where dpkg removes from a directory without chroot

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

command -v systemctl >/dev/null || exit 0
if [ -d "$root/run/systemd/system" ]; then
	# Waits until restarts that have begun are finished.
	systemctl stop "$unit" || echo "kubecertd: the daemon did not stop; see: systemctl status $unit" >&2
fi
# Links in /etc are ours to remove: left behind, they name a unit that does not exist.
systemctl --quiet --no-reload ${root:+--root="$root"} disable "$unit" ||
	echo "kubecertd: links to $unit may be left in /etc/systemd/system" >&2
