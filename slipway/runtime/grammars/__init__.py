"""Grammars that a generated text must follow: what a request asks for, its check in a process of its own, and the
tokens that may come next (`generation.TextGrammar`), computed by the library llguidance (the extra `structured`)."""
