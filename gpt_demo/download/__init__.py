"""Downloads over HTTP: resumable, verified, complete or absent."""
