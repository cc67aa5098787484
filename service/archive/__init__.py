"""What a TorchScript archive may hold, and the archive made anew from what was understood of it."""
