"""What a training procedure, and the way N and C are counted, do to the exponents."""
