"""The control socket: identification of clients, permitted requests, and requests that wait for an answer."""
