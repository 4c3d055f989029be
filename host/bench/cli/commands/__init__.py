"""The commands of `bench`, a module each."""
