package runtime

import "time"

// Later makes what a client has asked for so much longer ago.
func (c *Client) Later(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.stopped {
		s.at, s.until = s.at.Add(-d), s.until.Add(-d)
	}
}

// WithoutEvents makes a client treat its runtime as one that is not containerd: it
// polls, and takes the process from CRI.
func (c *Client) WithoutEvents() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.native = true, nil
}
