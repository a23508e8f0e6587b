package renew

import "go.uber.org/zap"

// Message ids of the journal, one for each kind of event (journald's MESSAGE_ID,
// systemd.journal-fields(7)). They never change meaning.
const (
	// EventStarted: the daemon has taken its first complete look.
	EventStarted = "2df6b3ebb58f44ca971b38316af49697"
	// EventLooked: a look found nothing to do, or what it found has changed.
	EventLooked = "2702422980c246a7bd2a058429f6f20f"
	// EventPlanned: a look found something to do.
	EventPlanned = "7a9cae8b63974c6096fb92e6df0cb327"
	// EventBlocked: there is something to do and a gate is closed.
	EventBlocked = "b5279d2689694488af756f18e0f43b72"
	// EventRunStarted: a run begins.
	EventRunStarted = "2582c8caa11c48fb843f14569e9cc715"
	// EventRenewed: a certificate is new on disk and validated.
	EventRenewed = "0c3cd0764d4e4be8be351f12eba555f3"
	// EventRenewFailed: a certificate could not be renewed.
	EventRenewFailed = "d5491de3469046c2a025e79e173355da"
	// EventPutBack: what was written was refused, and the certificate is as it was.
	EventPutBack = "86dc74cf2fe149948551521b479a005a"
	// EventPutBackFailed: what was written was refused, and the certificate is not as it was.
	EventPutBackFailed = "5c510a2958d5eefd4348ddaa11981718"
	// EventRestored: a certificate is what it was in an older snapshot, as a person asked or because it was damaged.
	EventRestored = "dd2a51954264a7bac7e73f960ca6fd31"
	// EventKept: a snapshot was taken of what somebody else has written.
	EventKept = "8f92c5c26f9a534c98f8e53cd78cd7b7"
	// EventRepaired: what kubeadm changed beside the certificate is as it was.
	EventRepaired = "c48b61502305404894a67ffb8578b490"
	// EventPreflight: a new credential was refused, or could not be tried.
	EventPreflight = "1667a36d874748189c5db407c45ed1c8"
	// EventCopied: a copy of admin.conf has the new certificate.
	EventCopied = "86aa33889a064909a5320804736e25df"
	// EventCopyFailed: a copy of admin.conf could not be given the new certificate.
	EventCopyFailed = "930584e66c57465f971636ea94506ed3"
	// EventLeaseReleased: the leader lease of a stopped component was given up for it.
	EventLeaseReleased = "5e1309a96ad64d8ab07d19f300d4152e"
	// EventAfresh: a control plane of which nothing works is started afresh.
	EventAfresh = "f296fa1cfc8b45858e9602153d8899b2"
	// EventEscalated: a component that did not come back is helped.
	EventEscalated = "9f881d2f922046d882340a41d15aad3d"
	// EventCutOff: a run was cut off by a crash.
	EventCutOff = "cf7f334814f848e8893c75a0902ef8d6"
	// EventRecovered: what a run that was cut off had begun was kept or put back.
	EventRecovered = "a9016dc7e5354802ab27049186cc6191"
	// EventRestarting: a component is about to be stopped.
	EventRestarting = "89aa50fd6af04588a525fc3f1169a31d"
	// EventRestarted: a component runs anew and is healthy.
	EventRestarted = "2549f7f068f94198ae7ac37eecc08eb8"
	// EventRestartFailed: a component did not come back.
	EventRestartFailed = "12410526afa9410db1c02f59f06bf570"
	// EventProven: every holder has loaded what is on disk.
	EventProven = "ab9a6f6d3934487ebae49a6bdf73123a"
	// EventHeartbeat: the API server hears of a kubelet that was given a certificate, or
	// could not be asked.
	EventHeartbeat = "6980e910a6624c0488da93ccdcbe7d07"
	// EventRunDone: a run has ended as planned.
	EventRunDone = "f411448439d04fdf9f337caca8c1c82e"
	// EventRunFailed: a run has failed.
	EventRunFailed = "9692ad2ea923459dbde150c173579602"
	// EventConfiguration: the cluster configuration was remembered, or could not be.
	EventConfiguration = "a97fc31eb46043249c62c2e3bf32a482"
	// EventReloaded: the configuration was read again, or kept because the new one is wrong.
	EventReloaded = "9fcce18d45ad46439fc33726dd868be9"
	// EventNotice: something is wrong that kubecertd does not cure.
	EventNotice = "b09afcf2e62c4567919eb60565db15b7"
	// EventTurnTaken: this node has the turn among the control-plane nodes.
	EventTurnTaken = "3d3783b7ff9c4f44a90be7773c9b4c45"
	// EventTurnReleased: this node has given the turn back.
	EventTurnReleased = "5e3ac82573a74c39a5765f7d8cf92441"
	// EventTurnPassed: this node acts although it is another's turn, or nobody can say whose.
	EventTurnPassed = "cee4ef0cf9d946b8a6e5c4ec8cf756a4"
	// EventTurnKept: a run has failed, and this node keeps the turn.
	EventTurnKept = "cd345a2840404e0a923845d74b47649c"
	// EventTurnYielded: the turn is left to the nodes whose components do not lead.
	EventTurnYielded = "c517e845e19f4c0cb28688ee4d987f94"
	// EventApproved: the kubelet's request for its serving certificate was approved.
	EventApproved = "c5febdf177f34d64a5aa8d7ebba15d54"
	// EventHook: a program of the administrator's was run for a run, or has failed.
	EventHook = "61af6261ca98485334ad4a2e3b265f6a"
	// EventStopping: the daemon ends.
	EventStopping = "89cc7a0b2f674e56bae9152c6f2195d4"
)

// event is the field that marks a log line with its kind.
func event(id string) zap.Field { return zap.String("message_id", id) }
