"""The control socket: who asks, what may be asked, and requests that wait for an answer."""
