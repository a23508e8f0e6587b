// Package systemd speaks to the service manager that keeps this node's kubelet, and
// that keeps kubecertd itself: units over D-Bus, readiness and watchdog, the
// journal. kubecertd.service lies beside the code that keeps its promises.
package systemd
