"""TODO-DOC dut."""
