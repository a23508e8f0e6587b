#!/bin/sh
# After removal. dpkg calls it with "remove", and later with "purge" when everything is
# to go, and with other words during upgrades; rpm with the number of versions left.
#
# Removal keeps the configuration and /var/lib/kubecertd. Purge removes both: the
# records of runs, the remembered cluster configuration, and copies of keys, which
# nobody would look after any more. rpm knows no purge.
set -e

root=${DPKG_ROOT:-} # set where dpkg removes from a directory without chroot

case "$1" in
remove | 0)
	if command -v journalctl >/dev/null; then
		journalctl ${root:+--root="$root"} --update-catalog || echo "kubecertd: journalctl --update-catalog failed; run it by hand" >&2
	fi
	if [ -d "$root/run/systemd/system" ]; then
		systemctl daemon-reload || echo "kubecertd: systemctl daemon-reload failed; run it by hand" >&2
	fi
	;;
purge)
	# The configuration that was shipped is dpkg's to remove; other files beside it
	# are the administrator's.
	rm -rf "$root/var/lib/kubecertd"
	if [ -d "$root/etc/kubecertd" ]; then
		rmdir --ignore-fail-on-non-empty "$root/etc/kubecertd"
	fi
	;;
esac
