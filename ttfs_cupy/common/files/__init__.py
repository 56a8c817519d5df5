"""Reading and writing files, and the folder that one process has for itself."""
