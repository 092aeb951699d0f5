"""The pages of an account in a browser: plain HTML, no script, no other host."""
