"""ThingsBoard's API over WebSockets: values of devices, and then their changes as they come."""
