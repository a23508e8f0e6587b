//go:build linux

package faults_test

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubecertd/kubecertd/test/lab/disk"
)

// steps are the lines of the record of a run that renews the usual certificates.
var steps = []string{
	"begin run",
	"begin snapshot", "end snapshot",
	"begin renew admin.conf", "end renew admin.conf",
	"begin renew apiserver-etcd-client", "end renew apiserver-etcd-client",
	"begin renew scheduler.conf", "end renew scheduler.conf",
	"begin preflight", "end preflight",
	"begin restart kube-apiserver", "end restart kube-apiserver",
	"begin restart kube-scheduler", "end restart kube-scheduler",
	"begin prove", "end prove",
	"end run",
}

// The paths of what is cut in the middle.
const (
	clientCert    = kubernetesDir + "/pki/apiserver-etcd-client.crt"
	clientKey     = kubernetesDir + "/pki/apiserver-etcd-client.key"
	schedulerConf = kubernetesDir + "/scheduler.conf"
	manifest      = kubernetesDir + "/manifests/kube-scheduler.yaml"
)

// losses are what power cuts take, one after the other.
var losses = []disk.Loss{disk.Strictest, disk.ZeroLength, disk.Journal, disk.NamesOnly, disk.Random(1), disk.ZeroFilled, disk.Random(2), disk.KeepAll}

// table is the fault matrix.
func table() []row {
	return slices.Concat(killed(), powerCuts(), cutKubeadm(), badKubeadm(), disks(), states(), clocks(), containers(), stopped())
}

// killed is SIGKILL before and after each line of the record.
func killed() []row {
	var rows []row
	for _, step := range steps {
		for _, side := range []string{"before", "after"} {
			point := side + " " + step
			r := row{name: "killed " + point, kind: "daemon killed", point: "kill " + point, says: []string{"code=killed", "the last run was cut off"}}
			if point == "before begin run" || point == "after end run" {
				r.says = r.says[:1] // there was no run to be cut off
			}
			r.quick = point == "after begin renew apiserver-etcd-client" || point == "after begin restart kube-apiserver"
			rows = append(rows, r)
		}
	}
	return append(rows, row{name: "killed after begin restart etcd", kind: "daemon killed", due: []string{"etcd-server", "scheduler.conf"},
		point: "kill after begin restart etcd", says: []string{"code=killed", "the last run was cut off"}})
}

// powerCuts take what had not been synced.
func powerCuts() []row {
	var rows []row
	for i, step := range steps {
		loss := losses[i%len(losses)]
		rows = append(rows, row{name: fmt.Sprintf("power cut after %s, %s", step, loss), kind: "power cut", reboots: true,
			point: "wait after " + step, strike: powerCut(loss)})
		// The first line is not on disk before the name of the record is.
		if step != "end run" && step != "begin run" {
			rows[i].says = []string{"the last run was cut off"}
		}
	}
	for i, at := range []struct{ name, certificate, file, call string }{
		{"between key and certificate", "apiserver-etcd-client", clientKey, "close"},
		{"in a certificate", "apiserver-etcd-client", clientCert, "write"},
		{"in a kubeconfig", "scheduler.conf", schedulerConf, "write"},
	} {
		for _, loss := range []disk.Loss{disk.Strictest, disk.ZeroLength, disk.Random(uint64(10 + i))} {
			rows = append(rows, row{name: fmt.Sprintf("power cut %s, %s", at.name, loss), kind: "power cut", reboots: true, configuration: ours,
				before: then(traced, cut(at.certificate, at.file, at.call, still)), strike: frozen(at.file, powerCut(loss)),
				says: []string{"the last run was cut off"}, quick: at.call == "close" && loss == disk.Strictest})
		}
	}
	return rows
}

// cutKubeadm is kubeadm between two of its writes.
func cutKubeadm() []row {
	var rows []row
	for _, at := range []struct{ name, certificate, file, call string }{
		{"in a key", "apiserver-etcd-client", clientKey, "write"},
		{"after the key, before the certificate", "apiserver-etcd-client", clientKey, "close"},
		{"in a certificate", "apiserver-etcd-client", clientCert, "write"},
		{"in a kubeconfig", "scheduler.conf", schedulerConf, "write"},
	} {
		rows = append(rows,
			row{name: "kubeadm killed " + at.name, kind: "kubeadm killed", configuration: ours,
				before: then(traced, cut(at.certificate, at.file, at.call, dies)),
				says:   []string{"signal: killed", "certificate put back as it was"},
				must:   "what it was writing is put back"},
			row{name: "kubeadm and daemon killed " + at.name, kind: "kubeadm killed", configuration: ours,
				before: then(traced, cut(at.certificate, at.file, at.call, still)), strike: frozen(at.file, killDaemon),
				says: []string{"the last run was cut off", "1 were put back (" + at.certificate + ")"}, quick: at.file == schedulerConf})
	}
	return rows
}

// badKubeadm is a kubeadm that does not do what it is asked.
func badKubeadm() []row {
	return []row{
		{name: "kubeadm fails on the third certificate", kind: "kubeadm fails", quick: true, configuration: ours,
			before: kubeadm(`echo x >> /run/story-count; if [ "$(wc -l < /run/story-count)" -ge 3 ]; then echo 'error: quota exceeded' >&2; exit 1; fi`),
			says:   []string{"exit status 1", "quota exceeded"}, mend: good, must: "the first two are renewed at once"},
		{name: "kubeadm writes an empty kubeconfig", kind: "kubeadm writes an empty file", quick: true, configuration: ours,
			before: kubeadm(`if [ "$3" = scheduler.conf ]; then : > ` + schedulerConf + `; exit 0; fi`),
			says:   []string{"scheduler.conf", "put back"}, mend: good},
		{name: "kubeadm writes an empty certificate", kind: "kubeadm writes an empty file", configuration: ours,
			before: kubeadm(`if [ "$3" = apiserver-etcd-client ]; then : > ` + clientCert + `; exit 0; fi`),
			says:   []string{"apiserver-etcd-client", "put back"}, mend: good},
		{name: "kubeadm writes an empty key", kind: "kubeadm writes an empty file", configuration: ours,
			before: kubeadm(`if [ "$3" = apiserver-etcd-client ]; then : > ` + clientKey + `; exit 0; fi`),
			says:   []string{"apiserver-etcd-client", "put back"}, mend: good},
	}
}

// disks are full or read-only.
func disks() []row {
	return []row{
		{name: "disk full before the daemon was ever started", kind: "disk full at snapshot", before: full(stateDisk, 0), says: []string{"no space left"}, mend: roomy, must: "nothing is touched"},
		{name: "disk full before the run", kind: "disk full at snapshot", before: then(script("mkdir -p /var/lib/kubecertd/runs /var/lib/kubecertd/snapshots /var/lib/kubecertd/maintenance; echo 1 | tee /var/lib/kubecertd/daemon.lock /var/lib/kubecertd/run.lock"), full(stateDisk, 0)), says: []string{"KiB left"}, mend: roomy, must: "nothing is touched"},
		{name: "disk full at snapshot", kind: "disk full at snapshot", quick: true, point: "wait before begin snapshot", strike: then(full(stateDisk, 8<<10), release),
			says: []string{"no space left"}, mend: roomy, must: "nothing is touched"},
		{name: "disk full at renewal of a certificate", kind: "disk full at renewal", quick: true, point: "wait after begin renew apiserver-etcd-client", strike: then(full(kubernetesDisk, -1<<20), release),
			says: []string{"no space left"}, mend: roomy, harmed: []string{"apiserver-etcd-client"}, must: "no component reads what is broken; it is put back as soon as there is room"},
		{name: "disk full at renewal of a kubeconfig", kind: "disk full at renewal", point: "wait after begin renew scheduler.conf", strike: then(full(kubernetesDisk, -1<<20), release),
			says: []string{"no space left"}, mend: roomy, harmed: []string{"scheduler.conf"}, must: "no component reads what is broken; it is put back as soon as there is room"},
		{name: "disk full at record, before a renewal", kind: "disk full at record", point: "wait before begin renew apiserver-etcd-client", strike: then(fullRecord, release),
			says: []string{"no space left"}, mend: roomy},
		{name: "disk full at record, after a renewal", kind: "disk full at record", quick: true, point: "wait before end renew apiserver-etcd-client", strike: then(fullRecord, release),
			says: []string{"no space left"}, mend: roomy},
		{name: "disk full at record, in a restart", kind: "disk full at record", point: "wait before end restart kube-apiserver", strike: then(fullRecord, release),
			says: []string{"no space left"}, mend: roomy},
		{name: "certificates read-only before the run", kind: "read-only file system", before: readOnly(kubernetesDisk), says: []string{"is mounted read-only"}, mend: writableAgain(kubernetesDisk)},
		{name: "certificates read-only at renewal", kind: "read-only file system", quick: true, point: "wait after begin renew apiserver-etcd-client", strike: then(readOnly(kubernetesDisk), release),
			says: []string{"read-only file system"}, mend: writableAgain(kubernetesDisk)},
		{name: "state read-only before the run", kind: "read-only file system", before: readOnly(stateDisk), says: []string{"read-only file system"}, mend: writableAgain(stateDisk), must: "nothing is touched"},
		{name: "certificates read-only at snapshot", kind: "read-only file system", point: "wait after begin snapshot", strike: then(readOnly(kubernetesDisk), release),
			says: []string{"read-only file system"}, mend: writableAgain(kubernetesDisk)},
	}
}

// states are a state directory that is gone, or not what it was.
func states() []row {
	const newest = "$(ls -d /var/lib/kubecertd/snapshots/*/ | tail -n1)"
	return []row{
		{name: "state directory lost before the run", kind: "state directory lost", before: script("find /var/lib/kubecertd -mindepth 1 -delete")},
		{name: "state directory lost while renewing", kind: "state directory lost", quick: true, point: "wait after begin renew apiserver-etcd-client",
			strike: shell("find /var/lib/kubecertd -mindepth 1 -delete")},
		{name: "state directory lost while restarting", kind: "state directory lost", point: "wait after begin restart kube-apiserver",
			strike: shell("find /var/lib/kubecertd -mindepth 1 -delete")},
		{name: "state directory lost, and killed", kind: "state directory lost", point: "wait after end renew apiserver-etcd-client",
			strike: then(script("find /var/lib/kubecertd -mindepth 1 -delete"), killDaemon), says: []string{"code=killed"}},
		{name: "record torn in its middle, and killed", kind: "record damaged", quick: true, point: "wait after end renew apiserver-etcd-client",
			strike: then(script("sed -i 2s/./x/ /var/lib/kubecertd/runs/*.jsonl"), killDaemon), says: []string{"a record cannot be read and is set aside"}},
		{name: "snapshot damaged, and killed", kind: "snapshot damaged", quick: true, point: "wait after end renew apiserver-etcd-client",
			strike: then(script("find "+newest+" -type f ! -name manifest.json | while read f; do echo damaged > \"$f\"; done"), killDaemon),
			says:   []string{"code=killed", "the last run was cut off"}, must: "what was renewed stays"},
		{name: "manifest of the snapshot damaged, and killed", kind: "snapshot damaged", point: "wait after end renew apiserver-etcd-client",
			strike: then(script("echo damaged > "+newest+"/manifest.json"), killDaemon), says: []string{"the last run was cut off", "damaged"}, must: "what was renewed stays"},
		{name: "snapshot damaged, and kubeadm writes an empty kubeconfig", kind: "snapshot damaged", configuration: ours,
			point: "wait after end snapshot", before: kubeadm(`if [ "$3" = scheduler.conf ] && [ ! -e /run/story-cut ]; then cp ` + schedulerConf + ` /run/story-copy; touch /run/story-cut; : > ` + schedulerConf + `; exit 0; fi`),
			strike: shell("echo damaged > " + newest + schedulerConf),
			says:   []string{"scheduler.conf", "the copy of /etc/kubernetes/scheduler.conf is not what was copied"}, harmed: []string{"scheduler.conf"}, mend: script("cat /run/story-copy > " + schedulerConf),
			must: "no component is made to read it; a person puts the file there"},
	}
}

// clocks jump, forwards and back. The clock of kubeadm does not: what it issues looks
// old, or not yet valid, until the daemon's clock is right again.
func clocks() []row {
	var rows []row
	for _, jump := range []struct{ by, name, says string }{
		{"24h", "a day forwards", ""},
		{"-24h", "a day back", "is the clock right?"},
		{"17520h", "two years forwards", "expired"},
		{"-17520h", "two years back", "is the clock right?"},
	} {
		right := script("sleep 2; rm " + clockFile)
		for _, at := range []string{"begin renew apiserver-etcd-client", "begin restart kube-apiserver"} {
			r := row{name: "clock jumps " + jump.name + " after " + at, kind: "clock jumps", point: "wait after " + at, strike: then(clockOff(jump.by), release),
				quick: jump.by == "-17520h" && strings.HasPrefix(at, "begin renew")}
			if jump.says != "" {
				r.says, r.mend = []string{jump.says}, right
				r.patience = 3 * time.Minute // what proves a restart waits for a minute and a half
			}
			rows = append(rows, r)
		}
		r := row{name: "clock " + jump.name + " before the run", kind: "clock jumps", before: clockOff(jump.by)}
		if jump.says != "" {
			r.says, r.mend = []string{jump.says}, right
		}
		rows = append(rows, r)
	}
	return rows
}

// containers do not come back, or not well; and what brings them back is away.
func containers() []row {
	scheduler, api := "wait after begin restart kube-scheduler", "wait after begin restart kube-apiserver"
	const short = "restart: {timeout: 8s, healthy: 8s}\nkubelet: {timeout: 20s}\n"
	return []row{
		{name: "the container does not come back: its image is gone", kind: "container does not come back", quick: true, configuration: short, point: scheduler,
			strike: shell("cp " + manifest + " /run/story-manifest; sed -i 's#image: registry.k8s.io/kube-scheduler:.*#image: registry.k8s.io/nowhere:v1#; s#imagePullPolicy: .*#imagePullPolicy: Never#' " + manifest),
			says:   []string{"kube-scheduler", "did not come back"}, mend: script("cat /run/story-manifest > " + manifest), limit: 4 * time.Minute,
			stops: map[string]int{"kube-scheduler": 2, "kubelet": 1, "kube-apiserver": 1}},
		{name: "the container does not come back: the kubelet hangs", kind: "container does not come back", configuration: short, point: scheduler,
			strike: shell("kill -STOP $(pidof kubelet)"), says: []string{"kube-scheduler", "did not come back"}, patience: 2 * time.Minute, mend: script("kill -CONT $(pidof kubelet)"), limit: 4 * time.Minute,
			stops: map[string]int{"kube-scheduler": 2, "kubelet": 1, "kube-apiserver": 1}},
		{name: "the container comes back unhealthy: its kubeconfig is broken", kind: "container comes back unhealthy", quick: true, configuration: short, point: scheduler,
			strike: shell("echo broken > " + schedulerConf), says: []string{"kube-scheduler", "certificate put back as it was"}, limit: 4 * time.Minute,
			stops: map[string]int{"kube-scheduler": 3, "kubelet": 1, "kube-apiserver": 1}, must: "the kubeconfig is put back, the scheduler runs"},
		{name: "the container comes back unhealthy: its certificate is broken", kind: "container comes back unhealthy", configuration: short, point: api,
			strike: shell("echo broken > " + clientCert), says: []string{"kube-apiserver", "certificate put back as it was"}, limit: 5 * time.Minute,
			stops: map[string]int{"kube-apiserver": 3, "kubelet": 1, "kube-scheduler": 1}, must: "the certificate is put back, kube-apiserver runs"},
		{name: "kubelet dies while renewing", kind: "kubelet dies", quick: true, point: "wait after begin renew apiserver-etcd-client", strike: shell("systemctl kill --signal=KILL kubelet")},
		{name: "kubelet dies while kube-apiserver restarts", kind: "kubelet dies", point: api, strike: shell("systemctl kill --signal=KILL kubelet")},
		{name: "kubelet dies while proving", kind: "kubelet dies", point: "wait after begin prove", strike: shell("systemctl kill --signal=KILL kubelet")},
		{name: "containerd restarts while renewing", kind: "containerd restarts", point: "wait after begin renew apiserver-etcd-client", strike: shell("systemctl restart containerd")},
		{name: "containerd restarts while kube-apiserver restarts", kind: "containerd restarts", quick: true, point: api, strike: shell("systemctl restart --no-block containerd")},
		{name: "containerd stops while the scheduler restarts", kind: "containerd restarts", point: scheduler, configuration: short, strike: shell("systemctl stop containerd"),
			says: []string{"containerd"}, mend: script("systemctl start containerd")},
		{name: "containerd restarts while proving", kind: "containerd restarts", point: "wait after begin prove", strike: shell("systemctl restart containerd")},
	}
}

// stopped is a stop, or an upgrade of the package, at each step.
func stopped() []row {
	var stops, upgrades []row
	for _, step := range steps {
		if !strings.HasPrefix(step, "begin") {
			continue
		}
		point := "after " + step
		stops = append(stops,
			row{name: "stopped " + point, kind: "SIGTERM", point: "wait " + point, strike: terminate, says: []string{"stopping"}, quick: step == "begin renew scheduler.conf",
				must: "it ends by itself, and leaves nothing down"})
		upgrades = append(upgrades,
			row{name: "upgraded " + point, kind: "package upgrade", point: "wait " + point, strike: upgrade, says: []string{"stopping"}, quick: step == "begin restart kube-apiserver",
				must: "dpkg waits, the new version goes on"})
	}
	return append(stops, upgrades...)
}
