"""What the Makefile runs: pack a .mar, start emulator and TorchServe, check the machine."""
