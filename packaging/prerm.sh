#!/bin/sh
# Before removal. dpkg calls it with "remove", "upgrade", "deconfigure" or
# "failed-upgrade"; rpm with the number of versions that will be left.
#
# An upgrade does not stop the daemon: it may be in the middle of a restart, and
# postinst of the new version replaces it. Nor does it wait for a `kubecertd renew`:
# that goes on with the program that it was started from.
set -e

unit=kubecertd.service
root=${DPKG_ROOT:-} # set where dpkg removes from a directory without chroot

case "$1" in
remove | 0) ;;
*) exit 0 ;;
esac

if [ -d "$root/run/systemd/system" ] && command -v systemctl >/dev/null; then
	# Waits until restarts that have begun are finished.
	systemctl stop "$unit" || echo "kubecertd: the daemon did not stop; see: systemctl status $unit" >&2
fi

# Then a `kubecertd renew` of somebody's shell, which systemctl does not know: what it
# has stopped must come back while its state is there. No run waits for dpkg or rpm,
# whose lock is held meanwhile, once it has begun.
lock=$root/var/lib/kubecertd/run.lock
if [ -e "$lock" ] && command -v flock >/dev/null && ! flock --nonblock "$lock" true; then
	echo "kubecertd: a run is under way (process $(cat "$lock")); waiting for its end, 15 minutes at most" >&2
	flock --timeout 900 "$lock" true ||
		echo "kubecertd: the run has not ended; it goes on without its files: see 'ps -fp $(cat "$lock")'" >&2
fi

command -v systemctl >/dev/null || exit 0
# Links in /etc are ours to remove: left behind, they name a unit that does not exist.
systemctl --quiet --no-reload ${root:+--root="$root"} disable "$unit" ||
	echo "kubecertd: links to $unit may be left in /etc/systemd/system" >&2
