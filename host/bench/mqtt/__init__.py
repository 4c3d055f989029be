"""MQTT 3.1, 3.1.1 and 5: a codec, framing of a byte stream, and a client's packets. Imports no other room."""
