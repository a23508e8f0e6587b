#!/bin/sh
# Installs what the lab and the tests need on a Debian host, and only what is
# missing. Nothing that it installs is started. Elsewhere it says what is needed.
set -eu

# program, the Debian package that has it, what needs it
needed='
update-ca-certificates ca-certificates the module proxy of Go
make            make               the targets of the Makefile
gcc             gcc                the race detector
systemd-nspawn  systemd-container  the nodes of the lab
mmdebstrap      mmdebstrap         the file system of the nodes
nsenter         util-linux         commands in a node
ip              iproute2           a look at the network of the lab
containerd      containerd         the tests of the container runtime
runc            runc               the same
dbus-daemon     dbus-daemon        the tests of package systemd
systemd-analyze systemd            the test of the unit
ps              procps             kill as a program, which the unit names
dpkg-deb        dpkg               the tests of the .deb
rpm             rpm                the tests of the .rpm
strace          strace             the fault matrix, to cut kubeadm off between its writes
mandoc          mandoc             the test of the manual pages
chromium        chromium           the test of the page of fleet
haproxy         haproxy            the clients of three nodes
shellcheck      shellcheck         make lint
promtool        prometheus         the tests of the metrics, of the alert rules and of the dashboard
'

missing=$(echo "$needed" | while read -r program package reason; do
	if [ -n "$program" ] && ! command -v "$program" >/dev/null; then
		printf '%s\t%s\n' "$package" "$program, for $reason"
	fi
done)
# gcc alone compiles nothing, and no program belongs to the headers.
if [ ! -e /usr/include/stdlib.h ]; then
	missing=$(printf '%s\nlibc6-dev\tthe headers of the C library, for gcc' "$missing" | sed '/^$/d')
fi
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
	{
		echo "Missing on this host (the names are Debian's):"
		echo "$missing" | sed 's/^/  /'
		echo "Install them and try again; as root on Debian this happens by itself."
	} >&2
	exit 1
fi

packages=$(echo "$missing" | cut -f1 | sort -u)
echo "Installing: $(echo "$packages" | tr "\n" " ")"

# A package's postinst starts services through invoke-rc.d, which asks this file
# (policy-rc.d(8) of Debian: 101 is "forbidden by policy").
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM
if [ ! -e "$policy" ]; then
	trap 'rm -f "$log" "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod 755 "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
apt() {
	apt-get -q -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$log" 2>&1 || {
		cat "$log" >&2
		return 1
	}
}
# The lists may be missing, or name versions that the mirror no longer has.
ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || apt update
# shellcheck disable=SC2086 # one word for each package
apt --no-install-recommends install $packages || {
	apt update
	apt --no-install-recommends install $packages
}
