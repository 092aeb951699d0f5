"""What mail asks other servers of the house."""
