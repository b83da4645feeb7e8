"""What goes out when: audiences, the cork, conflation, timers. No I/O; time is an argument."""
