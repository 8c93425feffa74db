"""The network's stages on a CPU, by machine code that holds one pixel of several pictures in a register."""
