"""What tests share: waiting, leak checks, real workers, and an app with tasks for them."""
