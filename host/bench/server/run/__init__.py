"""A server and its four ways to run: in a thread, in the foreground, as a subprocess, or in this process."""
