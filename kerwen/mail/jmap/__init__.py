"""JMAP's pure parts: requests, references, arguments, and what an Email looks like in JSON."""
