"""From the bytes of one file to an array, within bounds, whatever the bytes say."""
