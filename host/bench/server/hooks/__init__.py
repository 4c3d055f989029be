"""Hooks: who is told what happens to devices."""
