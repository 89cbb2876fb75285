"""What server and browser say to each other, declared once: everything that crosses is one of these, as JSON.

assets/page/protocol.d.ts says the same to the scripts: `python -m tests.protocol_types` writes it, and
tests/ui/test_protocol.py holds both equal, and what the server really sends to what is declared here.
A dataclass of the core crosses as `Event.to_json` writes it; a float that is not finite crosses as null.
"""
