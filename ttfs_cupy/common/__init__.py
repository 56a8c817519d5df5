"""What every room may use: errors, files, the command line, the version."""
