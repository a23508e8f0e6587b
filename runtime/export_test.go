package runtime

// WithoutEvents makes a client treat its runtime as one that is not containerd: it
// polls, and takes the process from CRI.
func (c *Client) WithoutEvents() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known, c.native = true, nil
}
