"""ThingsBoard's JSON, as operators' clients send it and get it back: one module a subject."""
