"""Networks that label the pixels of an image."""
