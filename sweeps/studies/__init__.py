"""The lab's own studies: from their arguments to their closing lines."""
