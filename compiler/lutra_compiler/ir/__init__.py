"""The intermediate representation: Graph, operators, encodings, shape rules, verifier, text form."""
