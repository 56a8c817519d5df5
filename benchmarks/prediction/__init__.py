"""How much sooner many image files are classified together than one by one."""
