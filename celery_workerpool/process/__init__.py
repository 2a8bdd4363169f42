"""The only code that forks, signals, or touches file descriptors."""
