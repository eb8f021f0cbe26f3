"""Examples of use; the tests run each one."""
