// Package crash cuts the power while the real kubeadm renews the certificates of a
// real node's directory. The same is told in package renew with a stand-in for
// kubeadm, and there in far more states: here it is shown that the stand-in writes as
// kubeadm does.
package crash
