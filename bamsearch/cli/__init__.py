"""The command line: one command a file, each of them parse, one library call, print."""
