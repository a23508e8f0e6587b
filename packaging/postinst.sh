#!/bin/sh
# After installation. dpkg calls it with "configure" and the version that was
# configured before, if any, or with "abort-…" when a removal or an upgrade failed;
# rpm with the number of versions installed: 1 is the first, 2 an upgrade.
#
# A new installation starts nothing: the daemon restarts a control plane when
# certificates are due, and when that may happen is for the administrator to say.
set -e

unit=kubecertd.service
root=${DPKG_ROOT:-} # set where dpkg installs into a directory without chroot

case "$1" in
configure) upgrade=$2 ;;
abort-upgrade | abort-remove | abort-deconfigure) upgrade=aborted ;;
1) upgrade= ;;
2) upgrade=rpm ;;
*)
	echo "postinst of kubecertd: unknown argument '$1'" >&2
	exit 1
	;;
esac

# journalctl -x explains our messages. systemd's own packages have triggers for this
# directory, but not those of every version, nor of every distribution.
if command -v journalctl >/dev/null; then
	journalctl ${root:+--root="$root"} --update-catalog || echo "kubecertd: journalctl --update-catalog failed; run it by hand" >&2
fi

# Without a running systemd (a container, an image being built) there is nothing to
# tell; it reads the unit when it starts.
[ -d "$root/run/systemd/system" ] || exit 0
systemctl daemon-reload || echo "kubecertd: systemctl daemon-reload failed; run it by hand" >&2
[ -n "$upgrade" ] || exit 0

# The old program still runs. It goes on until the new one is known to start, and it
# finishes restarts that it has begun: try-restart waits for it.
systemctl --quiet is-active "$unit" || exit 0
if ! kubecertd config check >/dev/null; then
	echo "kubecertd: the new version does not accept the configuration, so the old one was left running." >&2
	echo "kubecertd: correct it, then: systemctl restart $unit" >&2
	exit 0
fi
systemctl try-restart "$unit" || echo "kubecertd: the new version did not start; see: journalctl -u $unit" >&2
