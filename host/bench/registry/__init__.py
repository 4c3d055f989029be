"""The domain: profiles, devices, their credentials and what they report. Knows no protocol.

Import each name from the module that defines it: this one imports nothing, since SQLAlchemy takes longer to import
than most commands to run, and few of them need it.
"""
